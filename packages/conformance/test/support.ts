import { fileURLToPath } from 'node:url';
import { testPlugin, type Report, type Selection, type TestPluginOptions } from '../src/index.ts';

/** A good plugin that uses all of the API; see its head. */
export const THOROUGH_PLUGIN = fileURLToPath(new URL('plugins/thorough.js', import.meta.url));
export const MINIMAL_PLUGIN = fileURLToPath(new URL('../../../examples/plugins/minimal.js', import.meta.url));

/** Runs a selection of the suite on a command, as `devmgr test` does. */
export async function suiteOn(
  command: readonly string[],
  selection: Partial<Selection> = {},
  options: Pick<TestPluginOptions, 'timeoutMs' | 'env' | 'hardware'> = {},
): Promise<Report> {
  return testPlugin({ plugin: command, ...selection, ...options, env: { ...process.env, ...options.env } });
}

/** Checks of a report that are not passed: `id: status: message: seen`. */
export function complaints({ checks }: Report): readonly string[] {
  return checks
    .filter(({ status }) => status === 'fail' || status === 'warn')
    .map(({ id, status, message, seen }) => `${id}: ${status}: ${message}: ${seen}`);
}
