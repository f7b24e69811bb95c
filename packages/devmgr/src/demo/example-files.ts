import { existsSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DevmgrError } from '@devmgr/core';

/** Beside the package when it was installed, else in the repository. */
const PLACES = ['../../examples/', '../../../../examples/'];

/** Where an example of the `examples` folder is; as short as it can be said from here. Throws NOT_FOUND when it was not installed. */
export function exampleFile(name: string): string {
  for (const place of PLACES) {
    const path = fileURLToPath(new URL(place + name, import.meta.url));
    if (!existsSync(path)) continue;
    const fromHere = relative(process.cwd(), path);
    return fromHere.length < path.length && !fromHere.startsWith('../..') ? fromHere : path;
  }
  throw new DevmgrError('NOT_FOUND', `the example ${name} is not part of this installation`, {
    remedy: 'Run the demo in a checkout of the repository.',
  });
}
