import { expect, test } from 'vitest';
import { parseDuration } from '../src/duration.ts';
import { parseKind, parseTarget } from '../src/output/kinds.ts';
import { createStyle } from '../src/output/style.ts';
import { findCommand } from '../src/run/find-command.ts';
import { parseLimits } from '../src/run/limits.ts';

test('durations are written as Go and kubectl write them', () => {
  expect(parseDuration('500ms', '--t')).toBe(500);
  expect(parseDuration('1h30m', '--t')).toBe(5_400_000);
  expect(parseDuration('1.5s', '--t')).toBe(1_500);
  expect(parseDuration('30', '--t')).toBe(30_000);
  expect(() => parseDuration('1000h', '--t')).toThrow('--t: 1000h is too long');
  for (const text of ['', 'soon', '5 m', '-3s', '3d', 's']) {
    expect(() => parseDuration(text, '--timeout')).toThrow(`--timeout: "${text}" is not a length of time`);
  }
});

test('limits are repeated or separated by commas', () => {
  expect(parseLimits(['example.com/gpu=2'])).toEqual({ 'example.com/gpu': 2 });
  expect(parseLimits(['example.com/gpu=2,x.y/z=1', 'a.b/c=10'])).toEqual({
    'example.com/gpu': 2,
    'x.y/z': 1,
    'a.b/c': 10,
  });
});

test.each([
  ['gpu', '"gpu" is not RESOURCE=NUMBER'],
  ['=1', '"=1" is not RESOURCE=NUMBER'],
  ['example.com/gpu=0', '"0" of example.com/gpu is not a whole number above zero'],
  ['example.com/gpu=1.5', '"1.5" of example.com/gpu is not a whole number above zero'],
  ['example.com/gpu=-1', '"-1" of example.com/gpu is not a whole number above zero'],
  ['example.com/gpu=1,example.com/gpu=2', 'example.com/gpu is given twice'],
  ['cpu=1', 'cpu'],
])('--limits %s says what is wrong with it', (text, message) => {
  expect(() => parseLimits([text])).toThrow(message);
});

test('kinds have singular, plural and short names, alone or in front of a name', () => {
  expect(['pod', 'PODS', 'po', 'node', 'no', 'resources', 'dev', 'plugin', 'ev'].map(parseKind)).toEqual([
    'pod',
    'pod',
    'pod',
    'node',
    'node',
    'resource',
    'device',
    'plugin',
    'event',
  ]);
  expect(() => parseKind('gadgets')).toThrow('there is no kind "gadgets"');
  expect(parseTarget('pod/web', [])).toEqual({ kind: 'pod', names: ['web'] });
  expect(parseTarget('pods', ['web', 'pod/db'])).toEqual({ kind: 'pod', names: ['web', 'db'] });
  expect(parseTarget('device/example.com/gpu/gpu-0', [])).toEqual({ kind: 'device', names: ['example.com/gpu/gpu-0'] });
  expect(parseTarget('resource', ['example.com/gpu'])).toEqual({ kind: 'resource', names: ['example.com/gpu'] });
});

test('colour is for terminals whose user has not said no', () => {
  const red = (input: Parameters<typeof createStyle>[0]): string => createStyle(input).red('x');
  expect(red({ isTerminal: true, env: {} })).toBe('\u001b[31mx\u001b[39m');
  expect(red({ isTerminal: false, env: {} })).toBe('x');
  expect(red({ isTerminal: true, env: { NO_COLOR: '1' } })).toBe('x');
  expect(red({ isTerminal: true, env: { NO_COLOR: '' } })).toContain('\u001b');
  expect(red({ isTerminal: true, env: { TERM: 'dumb' } })).toBe('x');
  expect(red({ isTerminal: true, env: {}, noColor: true })).toBe('x');
});

test('commands are looked for as a shell does', () => {
  expect(findCommand('sh', '/nowhere:/bin:/usr/bin')).toEqual({ found: true });
  expect(findCommand('/bin/sh', undefined)).toEqual({ found: true });
  expect(findCommand('sh', '/nowhere')).toEqual({ found: false, problem: 'missing' });
  expect(findCommand('/etc/passwd', undefined)).toEqual({ found: false, problem: 'not-executable' });
  expect(findCommand('/tmp', undefined)).toEqual({ found: false, problem: 'missing' });
});
