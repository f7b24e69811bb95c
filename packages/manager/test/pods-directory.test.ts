import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DirectorySource } from '../src/pods/directory-source.ts';
import { SystemClock } from '../src/system-clock.ts';
import { PodStation, processesMentioning, temporaryDirectory, until } from './pods-support.ts';

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let dir = '';
let station: PodStation;
let source: DirectorySource;

beforeEach(async () => {
  directory = await temporaryDirectory();
  dir = join(directory.path, 'manifests');
  await mkdir(dir);
  station = new PodStation(directory.path);
  source = newSource();
});

afterEach(async () => {
  await source.close();
  await station.close();
  expect(processesMentioning(directory.path)).toEqual([]);
  await directory.remove();
});

function newSource(): DirectorySource {
  const { pods, events, log } = station;
  return new DirectorySource({ dir, pods, events, log, clock: new SystemClock(), nodeName: 'here' });
}

const manifest = (name: string, script = 'sleep 1000'): string =>
  `apiVersion: v1
kind: Pod
metadata:
  name: ${name}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      command: [sh, -c, ${JSON.stringify(script)}]
`;
const put = (file: string, text: string): Promise<void> => writeFile(join(dir, file), text);
const names = (): string[] => station.pods.list().map(({ metadata }) => metadata.name);
const uid = (name: string): string | undefined => station.pods.get('default', name)?.metadata.uid;
const warnings = (): string[] =>
  station.events.list.filter(({ reason }) => reason === 'ManifestInvalid').map(({ message }) => message);

test('files become pods, new ones soon; removed files take their pods with them', async () => {
  await put('a.yaml', `${manifest('a')}---\n${manifest('b')}`);
  await source.start();
  expect(names()).toEqual(['a', 'b']);
  expect(station.pods.get('default', 'a')?.metadata.annotations).toMatchObject({
    'kubernetes.io/config.source': 'file',
    'kubernetes.io/config.hash': expect.stringMatching(/^[0-9a-f]{32}$/) as string,
  });
  await put(
    'c.json',
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'c' },
      spec: { containers: [{ name: 'x', command: ['true'] }] },
    }),
  );
  await until('pod c', () => names().includes('c'));
  await put('a.yaml', manifest('b'));
  await until('a gone', () => !names().includes('a'));
  await rm(join(dir, 'a.yaml'));
  await until('b gone', () => !names().includes('b'));
  expect(names()).toEqual(['c']);
  expect(warnings()).toEqual([]);
});

test('a changed file makes another pod of the same name; a touched one does not', async () => {
  await put('a.yaml', manifest('a', 'sleep 1000'));
  await source.start();
  const first = uid('a');
  await put('a.yaml', `# a comment\n${manifest('a', 'sleep 1000')}`);
  await put('b.yaml', manifest('b'));
  await until('b', () => names().includes('b'));
  expect(uid('a')).toBe(first);
  await put('a.yaml', manifest('a', 'sleep 1001'));
  await until('another a', () => uid('a') !== undefined && uid('a') !== first);
  await station.phase('a', 'Running');
  expect(station.pods.get('default', 'a')?.spec.containers[0]?.command).toEqual(['sh', '-c', 'sleep 1001']);
});

test('a bad file is told of once, with its place, and disturbs nothing', async () => {
  await put('a.yaml', manifest('a'));
  await put('b.yaml', manifest('b'));
  await source.start();
  const [first, second] = [uid('a'), uid('b')];
  await put('b.yaml', 'apiVersion: v1\nkind: Pod\nmetadata: {name: "b\n');
  await until('the warning', () => warnings().length > 0);
  expect(warnings()[0]).toMatch(new RegExp(`^${dir}/b\\.yaml:\\d+:\\d+: `));
  await put('c.yaml', manifest('c'));
  await until('c', () => names().includes('c'));
  expect([uid('a'), uid('b')]).toEqual([first, second]);
  expect(warnings()).toHaveLength(1);
  expect(station.log.lines.filter(({ message }) => message === 'A manifest cannot be used')).toHaveLength(1);
  // Another mistake is another warning; an empty file is one that is being written.
  await put('b.yaml', '');
  await until('the second warning', () => warnings().length === 2);
  expect(uid('b')).toBe(second);
  await put('b.yaml', manifest('b'));
  await put('d.yaml', manifest('d'));
  await until('d', () => names().includes('d'));
  expect(uid('b')).toBe(second);
});

test('manifests that cannot be created are told of once, with the reason', async () => {
  await put('bad.yaml', manifest('bad').replace('main', 'Not Valid'));
  await put('service.yaml', 'apiVersion: v1\nkind: Service\nmetadata: {name: s}\n');
  await put('twice.yaml', `${manifest('x')}---\n${manifest('x')}`);
  await station.create('taken', { containers: [{ name: 'main', command: ['sleep', '1000'] }] });
  await put('taken.yaml', manifest('taken'));
  await source.start();
  expect(warnings()).toHaveLength(4);
  expect(warnings().join('\n')).toMatch(
    /bad\.yaml: Pod "bad" is invalid: spec\.containers\[0\]\.name: Invalid value: "Not Valid"/,
  );
  expect(warnings().join('\n')).toMatch(/service\.yaml:1: kind Service is not supported here, only Pod/);
  expect(warnings().join('\n')).toMatch(/twice\.yaml: pod "default\/x" is described in twice\.yaml as well/);
  expect(warnings().join('\n')).toMatch(
    /taken\.yaml: pod "default\/taken" exists already and does not come from this directory/,
  );
  expect(names().sort()).toEqual(['taken', 'x']);
  await put('y.yaml', manifest('y'));
  await until('y', () => names().includes('y'));
  expect(warnings()).toHaveLength(4);
});

test('what is no manifest is not looked at', async () => {
  for (const name of ['.hidden.yaml', 'a.yaml~', '#a.yaml#', '.a.yaml.swp', 'README.md', 'a.yaml.bak', '4913']) {
    await put(name, 'not: [a manifest');
  }
  await mkdir(join(dir, 'sub.yaml'));
  await source.start();
  expect([names(), warnings()]).toEqual([[], []]);
});

test('a directory that was replaced is followed, one that is missing for a while keeps its pods', async () => {
  await put('a.yaml', manifest('a'));
  await source.start();
  const first = uid('a');
  await rename(dir, `${dir}.old`);
  await until('the warning', () => warnings().some((text) => text.includes('cannot be read')));
  expect(uid('a')).toBe(first);
  await mkdir(`${dir}.new`);
  await writeFile(join(`${dir}.new`, 'a.yaml'), manifest('a'));
  await writeFile(join(`${dir}.new`, 'b.yaml'), manifest('b'));
  await rename(`${dir}.new`, dir);
  await until('b', () => names().includes('b'));
  expect(uid('a')).toBe(first);
  // The new one is watched.
  await put('c.yaml', manifest('c'));
  await until('c', () => names().includes('c'));
});

test('files that change while the manager is down are caught up with', async () => {
  await put('keep.yaml', manifest('keep'));
  await put('change.yaml', manifest('change'));
  await put('remove.yaml', manifest('remove'));
  await station.create('other', { containers: [{ name: 'main', command: ['sleep', '1000'] }] });
  await source.start();
  for (const name of ['keep', 'change', 'remove', 'other']) await station.phase(name, 'Running');
  const before = { keep: uid('keep'), change: uid('change'), other: uid('other') };
  await source.close();
  await station.pods.stop({ keepRunning: true });
  await put('change.yaml', manifest('change', 'sleep 1001'));
  await rm(join(dir, 'remove.yaml'));
  await station.restart({ keepRunning: true });
  source = newSource();
  await source.start();
  await until('removal', () => !names().includes('remove'));
  await until('the change', () => uid('change') !== undefined && uid('change') !== before.change);
  expect([uid('keep'), uid('other')]).toEqual([before.keep, before.other]);
});

test('a pod that somebody deletes comes back while its file is there', async () => {
  await put('a.yaml', manifest('a'));
  await source.start();
  const first = uid('a');
  await station.pods.remove('default', 'a', { gracePeriodSeconds: 0 });
  await until('another a', () => uid('a') !== undefined && uid('a') !== first);
  expect(await readdir(dir)).toEqual(['a.yaml']);
});
