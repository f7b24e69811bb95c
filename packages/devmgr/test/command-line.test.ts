import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { BIN, devmgr } from './support/command-line.ts';

describe('what is wrong is said in one line, with the remedy in the next', () => {
  test('an unknown command', async () => {
    const ended = await devmgr(['gte', 'pods']);
    expect(ended).toMatchObject({ code: 2, stdout: '' });
    expect(ended.stderr).toMatchInlineSnapshot(`
      "error: unknown command 'gte'
      Did you mean get? See "devmgr --help".
      "
    `);
  });

  test('an unknown flag', async () => {
    const ended = await devmgr(['get', 'pods', '--wach']);
    expect(ended).toMatchObject({ code: 2, stdout: '' });
    expect(ended.stderr).toMatchInlineSnapshot(`
      "error: unknown option '--wach'
      Did you mean --watch? See "devmgr get --help".
      "
    `);
  });

  test('a missing argument', async () => {
    const ended = await devmgr(['plugin', 'run']);
    expect(ended).toMatchObject({ code: 2, stdout: '' });
    expect(ended.stderr).toMatchInlineSnapshot(`
      "error: missing required argument 'command'
      See "devmgr plugin run --help".
      "
    `);
  });

  test.each([
    [['get', 'gadgets'], 'there is no kind "gadgets"'],
    [['get', 'pods', '-o', 'xml'], "argument 'xml' is invalid"],
    [['delete', 'node', 'x'], 'a node cannot be deleted'],
    [['delete'], 'delete needs either pods or -f'],
    [['run', '--', 'true'], 'run needs --limits'],
    [['run', '--limits', 'gpu', 'true'], '--limits: "gpu" is not RESOURCE=NUMBER'],
    [['wait', 'x', '--for', 'ever'], '--for: there is no condition "ever"'],
    [['wait', 'x', '--for', 'ready', '--timeout', 'soon'], '--timeout: "soon" is not a length of time'],
    [['start', '--runtime', 'magic'], "argument 'magic' is invalid"],
    [['start', '--listen', 'nowhere'], 'flag --listen'],
    [['start', '--config', '/nonexistent.yaml'], '/nonexistent.yaml: cannot be read'],
    [['completion', 'fish'], "'fish' is invalid for argument 'shell'"],
  ])('%j ends with 2', async (args, message) => {
    const ended = await devmgr(args, { env: { DEVMGR_ROOT_DIR: '/tmp/dm-none' } });
    expect(ended.stderr).toContain('error: ');
    expect(ended.stderr).toContain(message);
    expect(ended.stderr.trim().split('\n').length).toBeGreaterThanOrEqual(2);
    expect(ended).toMatchObject({ code: 2, stdout: '' });
  });

  test('a root directory whose sockets would have too long a path', async () => {
    const ended = await devmgr(['get', 'pods', '--root-dir', `/tmp/${'x'.repeat(90)}`]);
    expect(ended).toMatchObject({ code: 2, stdout: '' });
    expect(ended.stderr).toContain('has 123 bytes, and a socket path may have 107');
  });

  test('no manager', async () => {
    const ended = await devmgr(['--root-dir', '/tmp/dm-none', 'get', 'pods']);
    expect(ended).toMatchObject({ code: 5, stdout: '' });
    expect(ended.stderr).toMatchInlineSnapshot(`
      "error: cannot reach a manager at /tmp/dm-none/devmgr/api.sock: there is no such socket
      Start one with "devmgr start", or name its directory with --root-dir or DEVMGR_ROOT_DIR.
      "
    `);
  });

  test('a command that does not exist, before any device is taken for it', async () => {
    const options = { env: { DEVMGR_ROOT_DIR: '/tmp/dm-none' } };
    expect(await devmgr(['run', '--limits', 'a.b/c=1', '--', 'no-such-command'], options)).toMatchObject({ code: 127 });
    expect(await devmgr(['run', '--limits', 'a.b/c=1', '--', '/etc/passwd'], options)).toMatchObject({ code: 126 });
    expect(await devmgr(['plugin', 'run', 'no-such-command'], options)).toMatchObject({ code: 127 });
  });
});

test('help is an answer, on stdout; a group without a command is wrong usage', async () => {
  const help = await devmgr(['--help']);
  expect(help).toMatchObject({ code: 0, stderr: '' });
  expect(help.stdout).toContain('Exit codes: 0 done');
  expect((await devmgr([])).stdout).toBe(help.stdout);
  expect(await devmgr(['get', '--help'])).toMatchObject({ code: 0, stderr: '' });
  expect(await devmgr(['plugin'])).toMatchObject({ code: 2, stdout: '' });
});

test('version says what it can without a manager', async () => {
  const env = { DEVMGR_ROOT_DIR: '/tmp/dm-none' };
  const text = await devmgr(['version'], { env });
  expect(text.code).toBe(0);
  expect(text.stdout).toMatch(/^Client: devmgr \d+\.\d+\.\d+ \(Node\.js .*\)\nManager: none answers\n$/);
  const json = await devmgr(['version', '-o', 'json'], { env });
  expect(JSON.parse(json.stdout)).toHaveProperty('client.version');
});

test('a reader that has seen enough is no failure', () => {
  // `head` closes the pipe while more is to come.
  const script = `set -o pipefail; "$0" "$1" completion bash | head -c 10 >/dev/null; echo "\${PIPESTATUS[0]}"`;
  const { stdout, stderr } = spawnSync('bash', ['-c', script, process.execPath, BIN], { encoding: 'utf8' });
  expect({ stdout, stderr }).toEqual({ stdout: '0\n', stderr: '' });
});
