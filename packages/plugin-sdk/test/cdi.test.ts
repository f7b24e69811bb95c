import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cdiDocument, cdiName, writeCdiFile } from '@devmgr/plugin-sdk';
import type { CdiEdits, CdiSpec } from '@devmgr/plugin-sdk';
import { closing, temporaryDir } from './helpers.ts';

const kind = 'example.com/gpu';
const node: CdiEdits = { deviceNodes: [{ path: '/dev/gpu0' }] };
const withEdits = (edits: CdiEdits): CdiSpec => ({ kind, devices: [{ name: 'a', edits }] });

test.each<[string, CdiSpec, string]>([
  [
    'nodes, mounts and environment',
    withEdits({ ...node, env: { A: 'b=c' }, mounts: [{ hostPath: '/a', containerPath: '/b' }] }),
    '0.6.0',
  ],
  [
    'annotations and a class with a dot',
    { kind: 'example.com/gpu.big', annotations: { a: 'b' }, devices: [] },
    '0.6.0',
  ],
  ['groups of a device', withEdits({ additionalGids: [44] }), '0.7.0'],
  ['RDT for the whole kind', { kind, devices: [], edits: { intelRdt: { closID: 'x' } } }, '0.7.0'],
  ['RDT schemata', withEdits({ intelRdt: { schemata: ['L3:0=f'] } }), '1.1.0'],
  [
    'network devices',
    withEdits({ additionalGids: [1], netDevices: [{ hostInterfaceName: 'eth1', name: 'net0' }] }),
    '1.1.0',
  ],
])('a document with %s has the lowest version that does', (_what, spec, version) => {
  expect(cdiDocument(spec)).toMatchObject({ cdiVersion: version, kind: spec.kind });
});

test('what runtimes refuse is refused, naming the place', () => {
  const cases: [CdiSpec, RegExp][] = [
    [{ kind: 'gpu', devices: [] }, /CDI spec "gpu": the kind is not/],
    [{ kind: 'example.com/a/b', devices: [] }, /the kind is not/],
    [{ kind: 'example.com/-a', devices: [] }, /the kind is not/],
    [{ kind, devices: [{ name: 'a/b', edits: node }] }, /devices\[0\]\.name "a\/b"/],
    [
      {
        kind,
        devices: [
          { name: 'a', edits: node },
          { name: 'a', edits: node },
        ],
      },
      /devices\[1\]\.name "a" is there twice/,
    ],
    [withEdits({}), /devices\[0\]: the device has no edits/],
    [withEdits({ deviceNodes: [{ path: 'dev/x' }] }), /"dev\/x" is not an absolute path/],
    [withEdits({ deviceNodes: [{ path: '/dev/x', permissions: 'rr' }] }), /permissions "rr"/],
    [withEdits({ mounts: [{ hostPath: '/a', containerPath: 'b' }] }), /absolute container path/],
    [withEdits({ env: { 'A=B': 'c' } }), /"A=B" cannot be/],
    [withEdits({ hooks: [{ hookName: 'before' as 'prestart', path: '/x' }] }), /"before" is not a hook/],
    [withEdits({ additionalGids: [-1] }), /-1 is not a group id/],
  ];
  for (const [spec, message] of cases) expect(() => cdiDocument(spec), String(message)).toThrow(message);
});

test('a file is written whole, replaced whole, and names what it has', async () => {
  const dir = join(await temporaryDir(), 'cdi');
  const file = closing(await writeCdiFile(withEdits({ ...node, env: { GPU: 'a' } }), { dir, removeOnClose: true }));
  expect(file.path).toBe(join(dir, 'example.com-gpu.json'));
  expect(JSON.parse(await readFile(file.path, 'utf8'))).toEqual({
    cdiVersion: '0.6.0',
    kind,
    devices: [{ name: 'a', containerEdits: { env: ['GPU=a'], deviceNodes: [{ path: '/dev/gpu0' }] } }],
  });
  expect((await stat(file.path)).mode & 0o777, 'runtimes run as somebody else').toBe(0o644);
  expect(file.device('a')).toEqual([{ cdiDevices: [{ name: 'example.com/gpu=a' }] }]);
  expect(() => file.device('b')).toThrow(/has no device "b"/);
  await file.update({ kind, devices: [{ name: 'b', edits: node }] });
  expect(file.device('b')).toHaveLength(1);
  await expect(file.update({ kind, devices: [{ name: '', edits: node }] })).rejects.toThrow(/devices\[0\]\.name/);
  await expect(file.update({ kind: 'example.com/other', devices: [] })).rejects.toThrow(/a file of its own/);
  expect(file.device('b'), 'a refused content changes nothing').toHaveLength(1);
  expect(await readdir(dir)).toEqual(['example.com-gpu.json']);
  await file.close();
  expect(await readdir(dir)).toEqual([]);
});

test('any number of updates at once end with the last', async () => {
  const dir = await temporaryDir();
  const file = closing(await writeCdiFile(withEdits(node), { dir, fileName: 'mine.json' }));
  const names = Array.from({ length: 20 }, (_, index) => `d${String(index)}`);
  await Promise.all(names.map((name) => file.update({ kind, devices: [{ name, edits: node }] })));
  expect(await readFile(join(dir, 'mine.json'), 'utf8')).toContain('"d19"');
  await file.close();
  expect(await readdir(dir), 'kept unless asked to remove it').toEqual(['mine.json']);
  await expect(writeCdiFile(withEdits(node), { dir, fileName: '../x.json' })).rejects.toThrow(
    /no name for a spec file/,
  );
});

test('names are made of any id', () => {
  expect(cdiName('0000:01:00.0')).toBe('0000:01:00.0');
  expect(cdiName('/dev/tty=1')).toBe('dev_tty_1');
  expect(() => cdiName('///')).toThrow(/no CDI device name/);
});
