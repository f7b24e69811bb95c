import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { supervise, type SuperviseOptions } from '../src/plugin-run/supervise.ts';
import { CommandLine, devmgr, isAlive, removeDirectories, temporaryDirectory, until } from './support/command-line.ts';

afterAll(removeDirectories);

const namespaces = process.geteuid?.() === 0 ? ['--mount'] : ['--user', '--map-root-user', '--mount'];
const possible = spawnSync('unshare', [...namespaces, 'true']).status === 0;
if (!possible) console.warn('skipped: this system has no private mount namespaces, so "plugin run" cannot be tried');

function options(extra: Partial<SuperviseOptions> = {}): SuperviseOptions & { lines: string[] } {
  const lines: string[] = [];
  return {
    restart: 'always',
    graceMs: 5_000,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: process.env,
    stop: new AbortController().signal,
    stopNow: new AbortController().signal,
    report: (line) => lines.push(line),
    backOff: { firstMs: 20, maxMs: 80, resetAfterMs: 60_000 },
    ...extra,
    lines,
  };
}

describe('a supervised command', () => {
  test('is started again after pauses that double up to a limit', async () => {
    const stop = new AbortController();
    const given = options({ stop: stop.signal });
    const file = join(temporaryDirectory(), 'runs');
    const done = supervise(['sh', '-c', 'echo x >> "$0"; exit 3', file], given);
    await until(() => existsSync(file) && readFileSync(file, 'utf8').length >= 12);
    stop.abort();
    expect(await done).toBe(0);
    const pauses = given.lines.flatMap((line) => /again in ([\d.]+) s/.exec(line)?.[1] ?? []);
    expect(pauses.slice(0, 5)).toEqual(['0.02', '0.04', '0.08', '0.08', '0.08']);
    expect(given.lines[1]).toContain('ended: exit code 3');
  });

  test('keeps its first pause when it ran long enough', async () => {
    const stop = new AbortController();
    const given = options({ stop: stop.signal, backOff: { firstMs: 20, maxMs: 80, resetAfterMs: 0 } });
    const file = join(temporaryDirectory(), 'runs');
    const done = supervise(['sh', '-c', 'echo x >> "$0"', file], given);
    await until(() => existsSync(file) && readFileSync(file, 'utf8').length >= 8);
    stop.abort();
    await done;
    const pauses = given.lines.flatMap((line) => /again in ([\d.]+) s/.exec(line)?.[1] ?? []);
    expect(new Set(pauses)).toEqual(new Set(['0.02']));
  });

  test('is not started again when the policy says so, and its code is the result', async () => {
    expect(await supervise(['sh', '-c', 'exit 3'], options({ restart: 'never' }))).toBe(3);
    expect(await supervise(['sh', '-c', 'exit 0'], options({ restart: 'on-failure' }))).toBe(0);
    expect(await supervise(['sh', '-c', 'kill -9 $$'], options({ restart: 'never' }))).toBe(137);
  });

  test('gets SIGTERM and time to clean up, with everything it started', async () => {
    const directory = temporaryDirectory();
    const stop = new AbortController();
    const script = `trap 'echo cleaned > ${directory}/trace; exit 0' TERM; sleep 1000 & echo $! > ${directory}/child; wait`;
    const done = supervise(['sh', '-c', script], options({ stop: stop.signal }));
    await until(() => existsSync(`${directory}/child`) && readFileSync(`${directory}/child`, 'utf8') !== '');
    stop.abort();
    expect(await done).toBe(0);
    expect(readFileSync(`${directory}/trace`, 'utf8')).toBe('cleaned\n');
    await until(() => !isAlive(Number(readFileSync(`${directory}/child`, 'utf8'))));
  });

  test('is killed when it does not listen, after the grace period or at once', async () => {
    for (const now of [false, true]) {
      const directory = temporaryDirectory();
      const stop = new AbortController();
      const stopNow = new AbortController();
      const given = options({ stop: stop.signal, stopNow: stopNow.signal, graceMs: now ? 60_000 : 50 });
      const done = supervise(
        ['sh', '-c', `trap '' TERM; echo $$ > ${directory}/pid; while :; do sleep 0.05; done`],
        given,
      );
      await until(() => existsSync(`${directory}/pid`) && readFileSync(`${directory}/pid`, 'utf8') !== '');
      stop.abort();
      if (now) stopNow.abort();
      expect(await done).toBe(0);
      expect(isAlive(Number(readFileSync(`${directory}/pid`, 'utf8')))).toBe(false);
    }
  });
});

describe.skipIf(!possible)('plugin run', () => {
  test('shows the root directory as /var/lib/kubelet, and leaves the rest of the machine as it is', async () => {
    const rootDir = temporaryDirectory();
    writeFileSync(join(rootDir, 'mark'), 'here');
    const script =
      'cat /var/lib/kubelet/mark; ls -d /var/lib/kubelet/*; echo made > /var/lib/kubelet/device-plugins/file; ls -A /var/lib';
    const before = readdirSync('/var/lib').sort();
    const ended = await devmgr([
      'plugin',
      'run',
      '--root-dir',
      rootDir,
      '--restart',
      'never',
      '--',
      'sh',
      '-c',
      script,
    ]);
    expect(ended.code, ended.stderr).toBe(0);
    const [mark, ...lines] = ended.stdout.trim().split('\n');
    expect(mark).toBe('here/var/lib/kubelet/device-plugins');
    expect(lines).toEqual(expect.arrayContaining(before));
    expect(readFileSync(join(rootDir, 'device-plugins/file'), 'utf8')).toBe('made\n');
    expect(readdirSync('/var/lib').sort()).toEqual(before);
    expect(readdirSync(rootDir).sort()).toEqual(['device-plugins', 'devmgr', 'mark', 'plugins_registry']);
    expect(readdirSync(join(rootDir, 'devmgr'))).toEqual([]);
  });

  test('shows it in place of a /var/lib/kubelet that exists, for the plugin alone', () => {
    const rootDir = temporaryDirectory();
    const script = `
      mount -n -t tmpfs none /var/lib && mkdir /var/lib/kubelet && echo theirs > /var/lib/kubelet/mark || exit 90
      echo mine > ${rootDir}/mark
      "$0" "$1" plugin run --root-dir ${rootDir} --restart never -- cat /var/lib/kubelet/mark
      cat /var/lib/kubelet/mark`;
    const bin = new URL('../bin/devmgr.js', import.meta.url).pathname;
    const ended = spawnSync('unshare', [...namespaces, 'sh', '-c', script, process.execPath, bin], {
      encoding: 'utf8',
    });
    expect(ended.stdout, ended.stderr).toBe('mine\ntheirs\n');
  });

  test("ends with the plugin's code, and says what happened on stderr alone", async () => {
    const rootDir = temporaryDirectory();
    const args = ['plugin', 'run', '--root-dir', rootDir, '--name', 'tiny', '--restart', 'never', '--'];
    const ended = await devmgr([...args, 'sh', '-c', 'echo out; echo err >&2; exit 9']);
    expect(ended).toMatchObject({ code: 9, stdout: 'out\n' });
    expect(ended.stderr).toContain('err\n');
    expect(ended.stderr).toContain('tiny: no manager serves');
    expect(ended.stderr).toMatch(/tiny: started, pid \d+\n/);
    expect(ended.stderr).toContain('tiny: ended: exit code 9\n');
  });

  test('writes the output to a file when asked to', async () => {
    const rootDir = temporaryDirectory();
    const log = join(rootDir, 'plugin.log');
    const args = ['plugin', 'run', '--root-dir', rootDir, '--restart', 'never', '--log-file', log, '--'];
    expect(await devmgr([...args, 'sh', '-c', 'echo out; echo err >&2'])).toMatchObject({ code: 0, stdout: '' });
    await devmgr([...args, 'sh', '-c', 'echo more']);
    expect(readFileSync(log, 'utf8')).toBe('out\nerr\nmore\n');
  });

  test('leaves no orphan when it is killed, not even of what the plugin started', async () => {
    const rootDir = temporaryDirectory();
    const script = 'sleep 1000 & echo "$$ $!" > /var/lib/kubelet/pids; trap "" TERM; while :; do sleep 0.05; done';
    const command = new CommandLine(['plugin', 'run', '--root-dir', rootDir, '--', 'sh', '-c', script]);
    await until(() => existsSync(join(rootDir, 'pids')) && readFileSync(join(rootDir, 'pids'), 'utf8').includes(' '));
    const pids = readFileSync(join(rootDir, 'pids'), 'utf8').trim().split(' ').map(Number);
    expect(pids.map(isAlive)).toEqual([true, true]);
    command.child.kill('SIGKILL');
    expect(await command.ended).toMatchObject({ signal: 'SIGKILL' });
    await until(() => !pids.some(isAlive));
  });

  test('SIGTERM stops the plugin and is a normal end', async () => {
    const rootDir = temporaryDirectory();
    const command = new CommandLine([
      'plugin',
      'run',
      '--root-dir',
      rootDir,
      '--',
      'sh',
      '-c',
      'echo ready; exec sleep 1000',
    ]);
    await command.shows((text) => text.includes('ready'));
    command.child.kill('SIGTERM');
    expect(await command.ended).toMatchObject({ code: 0 });
  });

  test.skipIf(process.geteuid?.() !== 0)('works for an ordinary user too', async () => {
    const rootDir = temporaryDirectory();
    for (const name of ['device-plugins', 'plugins_registry', 'devmgr']) mkdirSync(join(rootDir, name));
    spawnSync('chown', ['-R', '65534:65534', rootDir]);
    const drop = ['--reuid=65534', '--regid=65534', '--clear-groups'];
    if (spawnSync('setpriv', [...drop, 'unshare', '-Urm', 'true']).status !== 0) {
      console.warn('skipped: no user namespaces without root here');
      return;
    }
    const script = 'touch /var/lib/kubelet/device-plugins/mine && ls /var/lib/kubelet';
    const args = [
      process.execPath,
      new URL('../bin/devmgr.js', import.meta.url).pathname,
      'plugin',
      'run',
      '--root-dir',
      rootDir,
    ];
    const ended = spawnSync('setpriv', [...drop, ...args, '--restart', 'never', '--', 'sh', '-c', script], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'] },
    });
    expect(ended.status, ended.stderr).toBe(0);
    expect(ended.stdout).toBe('device-plugins\ndevmgr\nplugins_registry\n');
    expect(readdirSync(join(rootDir, 'device-plugins'))).toEqual(['mine']);
  });

  test('says what the alternatives are where the system forbids it', async () => {
    const rootDir = temporaryDirectory();
    // An `unshare` that refuses as a hardened kernel does.
    const bin = join(rootDir, 'bin');
    mkdirSync(bin);
    writeFileSync(
      join(bin, 'unshare'),
      '#!/bin/sh\necho "unshare: unshare failed: Operation not permitted" >&2\nexit 1\n',
      { mode: 0o755 },
    );
    const path = `${bin}:${process.env['PATH'] ?? ''}`;
    const ended = await devmgr(['plugin', 'run', '--root-dir', rootDir, '--', 'sh', '-c', 'true'], {
      env: { PATH: path },
    });
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toContain(
      'private view of /var/lib/kubelet: unshare: unshare failed: Operation not permitted',
    );
    expect(ended.stderr).toContain('Run it as root; or allow user namespaces');
    expect(ended.stderr).toContain(join(rootDir, 'device-plugins'));
  });
});
