import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { completionScript } from '../src/completion-script.ts';
import { createProgram } from '../src/program.ts';

const script = completionScript(createProgram(), 'bash');
const bash = spawnSync('bash', ['--version']).status === 0;

/** What bash offers for a line whose last word is where the cursor stands. */
function complete(...words: string[]): string[] {
  const driver = `
${script}
devmgr() { [[ "$*" == 'get pods -o name' ]] && printf 'pod/alpha\\npod/beta\\n'; }
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_devmgr
printf '%s\\n' "\${COMPREPLY[@]}"
`;
  const { stdout, stderr } = spawnSync('bash', ['-u', '-c', driver, 'bash', ...words], { encoding: 'utf8', cwd: '/' });
  if (stderr !== '') throw new Error(stderr);
  return stdout.split('\n').filter((word) => word !== '');
}

describe.skipIf(!bash)('completion for bash', () => {
  test('offers commands', () => {
    expect(complete('devmgr', '')).toEqual(createProgram().commands.map((command) => command.name()));
    expect(complete('devmgr', 'de')).toEqual(['demo', 'describe', 'delete']);
    expect(complete('devmgr', 'plugin', '')).toEqual(['run', 'host']);
    expect(complete('devmgr', 'simulate', 'f')).toEqual(['flap', 'fail', 'flood']);
  });

  test('offers the flags of the command that is being typed, after other flags and their values too', () => {
    expect(complete('devmgr', 'get', 'pods', '--na')).toEqual(['--namespace']);
    expect(complete('devmgr', '--root-dir', 'get', 'plugin', 'run', '--res')).toEqual(['--restart']);
    expect(complete('devmgr', 'test', '--image', 'x', '--eng')).toEqual(['--engine', '--engine-option']);
    expect(complete('devmgr', 'start', '--')).toContain('--manifests');
    expect(complete('devmgr', 'start', '--')).not.toContain('--restart');
  });

  test('offers the values of a flag', () => {
    expect(complete('devmgr', 'get', 'pods', '-o', '')).toEqual(['table', 'wide', 'json', 'yaml', 'name']);
    expect(complete('devmgr', 'plugin', 'run', '--restart', 'o')).toEqual(['on-failure']);
    expect(complete('devmgr', 'wait', 'web', '--for', 'r')).toEqual(['running', 'ready']);
    expect(complete('devmgr', 'simulate', '--preset', 'm')).toEqual(['mig']);
    expect(complete('devmgr', 'simulate', 'hang', 'a')).toEqual(['allocate']);
  });

  test('offers files where a flag takes one, and commands after --', () => {
    expect(complete('devmgr', 'apply', '-f', '/etc/pass')).toContain('/etc/passwd');
    expect(complete('devmgr', 'plugin', 'run', '--', 'bas')).toContain('bash');
  });

  test('offers kinds, shells and the names of pods', () => {
    expect(complete('devmgr', 'get', 'p')).toEqual(['pods', 'plugins']);
    expect(complete('devmgr', 'completion', '')).toEqual(['bash', 'zsh']);
    expect(complete('devmgr', 'logs', 'a')).toEqual(['alpha']);
  });
});

test.skipIf(spawnSync('zsh', ['--version']).status !== 0)('the script for zsh is one', () => {
  const input = completionScript(createProgram(), 'zsh');
  expect(spawnSync('zsh', ['-n'], { input, encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
});
