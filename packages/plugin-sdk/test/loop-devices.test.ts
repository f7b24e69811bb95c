/** Real hot plug: loop devices of this machine come and go under a plugin. Needs root and a kernel with loop devices. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hostDevicePlugin } from '@devmgr/plugin-sdk';
import { startFakeManager, until } from '@devmgr/plugin-sdk/testing';
import { cleanup, closing, temporaryDir } from './helpers.ts';

/** LOOP_CTL_REMOVE of linux/loop.h, by the interpreter that is at hand: Node has no ioctl. */
const REMOVE = 'import fcntl, os, sys\nfcntl.ioctl(os.open("/dev/loop-control", os.O_RDWR), 0x4C81, int(sys.argv[1]))';

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may make loop devices';
  try {
    accessSync('/dev/loop-control', constants.R_OK | constants.W_OK);
  } catch {
    return 'there is no /dev/loop-control';
  }
  for (const program of ['losetup', 'python3']) {
    if (spawnSync(program, ['--version']).status !== 0) return `there is no ${program}`;
  }
  return undefined;
}

function run(command: string, ...args: readonly string[]): { ok: boolean; stderr: string } {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8', timeout: 20_000 });
  return { ok: status === 0, stderr: error?.message ?? stderr };
}

function unplug(number: number): void {
  run('losetup', '-d', `/dev/loop${String(number)}`);
  run('python3', '-c', REMOVE, String(number));
}

test('loop devices are seen and lost as they are plugged and unplugged', async ({ skip }) => {
  const reason = whyNot();
  if (reason !== undefined) skip(`SKIPPED ${reason}`);
  const dir = await temporaryDir();
  const image = join(dir, 'image');
  await writeFile(image, Buffer.alloc(1 << 20));
  // Numbers nobody else has: the tests of other packages and other users of the machine may have loop devices too.
  let first = 1_000 + (process.pid % 1_000) * 10;
  while ([0, 1].some((index) => existsSync(`/dev/loop${String(first + index)}`))) first += 10;
  const [one, two] = [first, first + 1];
  cleanup(() => [one, two].forEach(unplug));
  const plugIn = (number: number): { ok: boolean; stderr: string } =>
    run('losetup', `/dev/loop${String(number)}`, image);
  const probe = plugIn(one);
  if (!probe.ok) skip(`SKIPPED losetup does not work here: ${probe.stderr}`);

  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const resource = 'example.com/disk';
  const devices = [`/dev/loop${String(first).slice(0, -1)}?`];
  closing(hostDevicePlugin({ resource, devices, pluginDir, scanEveryMs: 500 }));
  const session = await manager.session(resource);
  const listed = (): string => session.devices.map(({ ID, health }) => `${ID} ${health}`).join();
  expect(listed()).toBe(`loop${String(one)} Healthy`);

  expect(plugIn(two)).toMatchObject({ ok: true });
  await until('the second', () => listed() === `loop${String(one)} Healthy,loop${String(two)} Healthy`);
  const response = await session.allocate([`loop${String(two)}`]);
  expect(response.devices.map(({ hostPath }) => hostPath)).toEqual([`/dev/loop${String(two)}`]);

  unplug(one);
  await until('the loss of the first', () => listed() === `loop${String(two)} Healthy`);
  await expect(session.allocate([`loop${String(one)}`])).rejects.toThrow(`no device "loop${String(one)}"`);
  expect(plugIn(one)).toMatchObject({ ok: true });
  await until('its return', () => listed() === `loop${String(one)} Healthy,loop${String(two)} Healthy`);
});
