import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { Recorder, readRecording } from '../src/index.ts';

const dir = mkdtempSync(join(tmpdir(), 'dmr-'));
afterAll(() => {
  rmSync(dir, { recursive: true, force: true });
});

const HEAD = '{"kind":"recording","format":1,"startedAt":"2026-01-01T00:00:00.000Z","command":["p"]}';
const CALL = '{"at":1,"kind":"call","call":1,"from":"plugin","method":"/a/B","connection":"c","socket":"kubelet.sock"}';
const END = '{"at":2,"kind":"end","call":1,"by":"manager","code":0,"text":""}';

test.each<[what: string, lines: readonly string[], message: RegExp]>([
  ['an empty file', [], /f\.jsonl: the file is empty$/],
  ['another kind of file', ['apiVersion: v1'], /f\.jsonl:1: not a JSON object$/],
  ['another kind of JSON', ['{"a":1}'], /f\.jsonl:1: not a recording: its first line has no "kind":"recording"$/],
  ['a later format', [HEAD.replace('1,', '2,')], /f\.jsonl:1: format 2 is not known; this devmgr reads 1$/],
  ['no JSON in the middle', [HEAD, '{"at":', CALL], /f\.jsonl:2: not a JSON object$/],
  ['an unknown kind of line', [HEAD, '{"at":1,"kind":"x"}'], /f\.jsonl:2: "kind" is none of manager, plugin, /],
  [
    'a line without a time',
    [HEAD, CALL.replace('"at":1', '"at":"1"')],
    /f\.jsonl:2: "at" is not a number of 0 or more$/,
  ],
  ['a call without a method', [HEAD, CALL.replace('method', 'm')], /f\.jsonl:2: "method" is not a text$/],
  ['a call that begins twice', [HEAD, CALL, CALL], /f\.jsonl:3: call 1 begins a second time$/],
  ['the end of a call that did not begin', [HEAD, END], /f\.jsonl:2: call 1 has not begun$/],
  ['a call that ends twice', [HEAD, CALL, END, END], /f\.jsonl:4: call 1 ends a second time$/],
  [
    'bytes that are not base64',
    [HEAD, CALL, '{"at":1,"kind":"message","call":1,"from":"plugin","bytes":"%%"}'],
    /f\.jsonl:3: "bytes" is not base64$/,
  ],
])('%s is refused with its place and a remedy', async (_what, lines, message) => {
  const path = join(dir, 'f.jsonl');
  writeFileSync(path, lines.map((line) => `${line}\n`).join(''));
  const failure = await readRecording(path).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(failure).toMatchObject({
    name: 'DevmgrError',
    code: 'USAGE',
    remedy: expect.stringMatching(/^Record again/) as string,
  });
  expect(String(failure)).toMatch(message);
});

test('a missing file is not found', async () => {
  await expect(readRecording(join(dir, 'nothing'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('a last line that was cut short is left out', async () => {
  const path = join(dir, 'cut.jsonl');
  writeFileSync(path, `${HEAD}\n${CALL}\n${END.slice(0, 20)}`);
  const { events } = await readRecording(path);
  expect(events).toMatchObject([{ kind: 'call', call: { number: 1, end: undefined } }]);
});

test('what is recorded is on the disk at once, and only its owner can read it', async () => {
  const path = join(dir, 'own.jsonl');
  const recorder = new Recorder(path, ['p', '--flag']);
  recorder.note({ kind: 'manager', event: 'start', clean: true });
  const { header, events } = await readRecording(path);
  expect(header.command).toEqual(['p', '--flag']);
  expect(events).toMatchObject([{ kind: 'manager', event: 'start' }]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  recorder.close();
  recorder.note({ kind: 'manager', event: 'end' });
  expect((await readRecording(path)).events).toHaveLength(1);
});

test('a file that cannot be written is refused', () => {
  expect(() => new Recorder(join(dir, 'no', 'such'), [])).toThrow(/cannot be written: ENOENT/);
});
