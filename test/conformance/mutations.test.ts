import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CHECKS, groupOf } from '@devmgr/conformance';
import { expect, test } from 'vitest';
import { listPlugins } from './defects.ts';
import { buildGoPlugin, hasGo } from './go-plugin.ts';
import { checksFor, complaints, mutate, runOn, runOnCommand } from './mutation-run.ts';

/** `MUTATIONS=NAME,NAME` runs these alone. */
const chosen = process.env['MUTATIONS']?.split(',');

const { good, defects } = listPlugins();
const isChosen = (name: string): boolean => chosen?.includes(name) ?? true;
const chosenDefects = defects.filter(({ name }) => isChosen(name));
/** The plugins that get the checks that take minutes too. */
const THOROUGH = ['good', 'good-plain', 'good-found'];

test.concurrent.each(good.filter(isChosen))('no check finds anything in the plugin %s', async (name) => {
  const checks = CHECKS.filter(({ level }) => level === 'quick' || THOROUGH.includes(name));
  const report = await runOn(name, checks);
  expect(Object.fromEntries(complaints(report))).toEqual({});
  expect(report.summary.pass).toBeGreaterThan(checks.length / 2);
});

test.skipIf(!hasGo() || !isChosen('go'))(
  'no check finds anything in a plugin in Go',
  { concurrent: true },
  async () => {
    const directory = mkdtempSync(join(tmpdir(), 'dm'));
    try {
      const report = await runOnCommand(
        [buildGoPlugin(directory)],
        CHECKS.filter((check) => groupOf(check) !== 'hardware'),
      );
      expect(Object.fromEntries(complaints(report))).toEqual({});
      expect(report.plugin.resources).toMatchObject([{ name: 'example.com/gopher', devices: 3 }]);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
);

test.concurrent.each(chosenDefects)('the defect $name is found by $fails and by nothing else', async (defect) => {
  const checks = checksFor(defect);
  const expected = checks.filter(({ id }) => defect.fails.includes(id)).map(({ id }) => id);
  const found = await mutate(defect, checks);
  expect(Object.fromEntries(found), `complaints about ${defect.name}`).toEqual(
    Object.fromEntries(expected.map((id) => [id, found.get(id) ?? 'a complaint'])),
  );
});
