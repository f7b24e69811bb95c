import { DevmgrError } from '@devmgr/core';

/** Those that `names` mean, in the order of the names; all when there are none. Throws NOT_FOUND for a name that means nothing. */
export function select<T>(
  kind: string,
  items: readonly T[],
  names: readonly string[],
  matches: (item: T, name: string) => boolean,
): readonly T[] {
  if (names.length === 0) return items;
  return names.flatMap((name) => {
    const found = items.filter((item) => matches(item, name));
    if (found.length === 0) {
      throw new DevmgrError('NOT_FOUND', `there is no ${kind} "${name}"`, {
        remedy: `List what exists with "devmgr get ${kind}s".`,
      });
    }
    return found;
  });
}
