import { readFileSync } from 'node:fs';

/** Version of devmgr; all packages carry the same. */
export const MANAGER_VERSION = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version;
