import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { CommandLine, devmgr, isAlive, stopCommands } from './support/command-line.ts';

/** The demo makes its directory below this one, so that nothing else can be taken for it. */
const parent = mkdtempSync(join(tmpdir(), 'dd-'));
const env = { TMPDIR: parent, DEVMGR_ROOT_DIR: '/nonexistent/of/the/user' };

afterAll(async () => {
  await stopCommands();
  rmSync(parent, { recursive: true, force: true });
});

describe('the demo', () => {
  test('tells its whole story, and leaves nothing behind', async () => {
    const ended = await devmgr(['demo', '--once'], { env });
    expect(ended.code, ended.stdout + ended.stderr).toBe(0);
    const story = ended.stdout;
    // Both plugins, with what they offer.
    expect(story).toMatch(/devmgr\.io\/host +4 +4 +0 +0 +Connected/);
    expect(story).toMatch(/example\.com\/gpu +8 +8 +0 +0 +Connected/);
    // Two GPUs of one NUMA node, one device node, and the environment of the container.
    expect(story).toMatch(/gpu-pair +1\/1 +Running +0 .*example\.com\/gpu=gpu-[0-3],gpu-[0-3]/);
    expect(story).toMatch(/GPUs: +gpu-[0-3],gpu-[0-3]\nhost nodes: \/dev\/\w+\n/);
    expect(story).toContain('requested number of devices unavailable for example.com/gpu. Requested: 20, Available: 6');
    expect(story).toMatch(/waits-for-fpga +0\/1 +WaitingForDevicePlugin/);
    expect(story).toContain('got fpga-a');
    expect(story).toMatch(/example\.com\/gpu=7\/8[\s\S]*gpu-5 +Unhealthy[\s\S]*example\.com\/gpu=8\/8/);
    expect(readdirSync(parent)).toEqual([]);
  });

  test('stays up afterwards, and Ctrl-C ends it and leaves nothing behind', async () => {
    const demo = new CommandLine(['demo'], { env });
    await demo.shows((text) => text.includes('Ctrl-C ends it'), 60_000);
    const [rootDir = ''] = /(?<=DEVMGR_ROOT_DIR=).*/.exec(demo.stdout) ?? [];
    const there = { env: { DEVMGR_ROOT_DIR: rootDir } };
    const leased = await devmgr(
      ['run', '--limits', 'example.com/gpu=2', '--', 'sh', '-c', 'echo $GPU_VISIBLE_DEVICES'],
      there,
    );
    expect(leased).toMatchObject({ code: 0 });
    expect(leased.stdout).toMatch(/^gpu-\d,gpu-\d\n$/);
    const pods = await devmgr(['get', 'pod', 'gpu-pair', '-o', 'json'], there);
    expect(pods.code).toBe(0);
    demo.child.kill('SIGINT');
    expect(await demo.ended).toMatchObject({ code: 0 });
    expect(existsSync(rootDir)).toBe(false);
    expect(readdirSync(parent)).toEqual([]);
    expect(isAlive(demo.pid)).toBe(false);
  });

  test('interrupted in the middle of its story, it leaves nothing behind either', async () => {
    const demo = new CommandLine(['demo'], { env });
    await demo.shows((text) => text.includes('2. A pod asks'), 60_000);
    demo.child.kill('SIGTERM');
    const ended = await demo.ended;
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).not.toContain('5. ');
    expect(readdirSync(parent)).toEqual([]);
  });
});
