import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hardwareCommand } from '../src/index.ts';
import { MINIMAL_PLUGIN, THOROUGH_PLUGIN, complaints, suiteOn } from './support.ts';

test('a good plugin passes the quick checks', async () => {
  const report = await suiteOn([process.execPath, MINIMAL_PLUGIN]);
  expect(complaints(report)).toEqual([]);
  expect(report.summary.pass).toBeGreaterThan(20);
  expect(report.plugin.resources).toMatchObject([{ name: 'example.com/widget', devices: 4, authority: 'localhost' }]);
}, 90_000);

describe('a plugin that uses all of the API', () => {
  let devices: string;
  beforeEach(() => {
    devices = mkdtempSync(join(tmpdir(), 'dmc-'));
    for (const name of ['card0', 'card1', 'card2']) writeFileSync(join(devices, name), '');
  });
  afterEach(() => {
    rmSync(devices, { recursive: true });
  });

  /** In a private /run, since the plugin writes a CDI spec. */
  const command = ['sh', '-c', 'mount -n -t tmpfs none /run && exec "$@"', 'sh', process.execPath, THOROUGH_PLUGIN];

  test('passes, hot-plug included', async () => {
    const hardware = hardwareCommand(
      `sh -c 'cd ${devices}; case $0 in remove) rm card1;; add) touch card1;; esac'`,
      10_000,
    );
    const report = await suiteOn(command, {}, { env: { THOROUGH_DEVICES: devices }, hardware });
    expect(complaints(report)).toEqual([]);
    // Every check has something to judge; but nothing changes before the restart, so that no second list comes.
    const skipped = report.checks.filter(({ status }) => status === 'skip').map(({ id }) => id);
    expect(skipped).toEqual(['listing/whole-lists']);
  }, 90_000);

  test('passes when it is found in plugins_registry', async () => {
    const report = await suiteOn(command, {}, { env: { THOROUGH_DEVICES: devices, THOROUGH_WAY: 'registry' } });
    expect(complaints(report)).toEqual([]);
    expect(report.plugin.resources.map(({ registration }) => registration)).toEqual(['registry', 'registry']);
  }, 90_000);
});

test('a command that is no plugin fails one check, and the rest is skipped', async () => {
  const report = await suiteOn(['sh', '-c', 'echo no hardware here; exit 3']);
  expect(report.checks.filter(({ status }) => status === 'fail')).toMatchObject([
    { id: 'registration/registers', message: 'the plugin ended by itself (exit code 3)' },
  ]);
  expect(report.checks[0]?.seen).toContain('no hardware here');
  expect(report.summary).toMatchObject({ fail: 1, warn: 0 });
}, 90_000);

test('a hardware command that fails is the fault of who gave it', async () => {
  const hardware = hardwareCommand('echo no such switch >&2; false', 10_000);
  await expect(hardware.change('remove')).rejects.toMatchObject({
    code: 'USAGE',
    message: '--hardware-change failed with "remove" (exit code 1): no such switch',
  });
});
