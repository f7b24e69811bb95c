import { DevmgrError } from '@devmgr/core';

/** What `get` and `describe` know, by its singular name. */
export const KINDS = {
  pod: { plural: 'pods', short: ['po'] },
  node: { plural: 'nodes', short: ['no'] },
  resource: { plural: 'resources', short: ['res'] },
  device: { plural: 'devices', short: ['dev'] },
  plugin: { plural: 'plugins', short: ['plug'] },
  release: { plural: 'releases', short: ['rel'] },
  event: { plural: 'events', short: ['ev'] },
} as const;

export type Kind = keyof typeof KINDS;

/** Every word that names a kind, for messages and completion. */
export function kindWords(): string[] {
  return Object.values(KINDS).map((kind) => kind.plural);
}

/** Singular, plural and short names, in any case. Throws USAGE listing what there is. */
export function parseKind(word: string): Kind {
  const kind = findKind(word);
  if (kind !== undefined) return kind;
  throw new DevmgrError('USAGE', `there is no kind "${word}"`, { remedy: `Kinds are ${kindWords().join(', ')}.` });
}

function findKind(word: string): Kind | undefined {
  const wanted = word.toLowerCase();
  for (const kind of Object.keys(KINDS) as Kind[]) {
    const short: readonly string[] = KINDS[kind].short;
    if (wanted === kind || wanted === KINDS[kind].plural || short.includes(wanted)) return kind;
  }
  return undefined;
}

/** What was named on a command line: `pods`, `pod web`, `pod/web`, `device/example.com/gpu/gpu-0`. */
export function parseTarget(first: string, rest: readonly string[]): { kind: Kind; names: readonly string[] } {
  const slash = first.indexOf('/');
  if (slash > 0) {
    const kind = findKind(first.slice(0, slash));
    if (kind !== undefined)
      return { kind, names: [first.slice(slash + 1), ...rest.map((word) => stripKind(kind, word))] };
  }
  const kind = parseKind(first);
  return { kind, names: rest.map((word) => stripKind(kind, word)) };
}

/** `pod/web` and `web` name the same pod. Resource names contain a slash themselves, so only the kind's own words are taken off. */
export function stripKind(kind: Kind, word: string): string {
  const slash = word.indexOf('/');
  return slash > 0 && findKind(word.slice(0, slash)) === kind ? word.slice(slash + 1) : word;
}
