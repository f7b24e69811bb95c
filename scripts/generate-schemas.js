/** Writes docs/schemas: JSON Schemas of the files that plugins of devmgr read. Run after `npm run build`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { hostDeviceSchema, simulationSchema } from '@devmgr/plugin-sdk';

const dir = fileURLToPath(new URL('../docs/schemas/', import.meta.url));
mkdirSync(dir, { recursive: true });
for (const [name, schema] of [
  ['simulation', simulationSchema()],
  ['host-devices', hostDeviceSchema()],
]) {
  writeFileSync(`${dir}${name}.schema.json`, `${JSON.stringify(schema, undefined, 2)}\n`);
}
