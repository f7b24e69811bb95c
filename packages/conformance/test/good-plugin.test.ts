import { expect, test } from 'vitest';
import { MINIMAL_PLUGIN, complaints, suiteOn } from './support.ts';

test('a good plugin passes the quick checks', async () => {
  const report = await suiteOn([process.execPath, MINIMAL_PLUGIN]);
  expect(complaints(report)).toEqual([]);
  expect(report.summary.pass).toBeGreaterThan(20);
  expect(report.plugin.resources).toMatchObject([{ name: 'example.com/widget', devices: 4, authority: 'localhost' }]);
}, 90_000);

test('a command that is no plugin fails one check, and the rest is skipped', async () => {
  const report = await suiteOn(['sh', '-c', 'echo no hardware here; exit 3']);
  expect(report.checks.filter(({ status }) => status === 'fail')).toMatchObject([
    { id: 'registration/registers', message: 'the plugin ended by itself (exit code 3)' },
  ]);
  expect(report.checks[0]?.seen).toContain('no hardware here');
  expect(report.summary).toMatchObject({ fail: 1, warn: 0 });
}, 90_000);
