/** CDI spec files of the SDK, read by the library that container runtimes read them with. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cdiName, writeCdiFile } from '@devmgr/plugin-sdk';
import type { CdiEdits } from '@devmgr/plugin-sdk';
import { expect, inject, it } from 'vitest';

const peers = inject('peers');

it('every kind of edit is understood, in the version that the file says', async ({ skip }) => {
  const peer = peers['cdi-check'];
  if (peer === undefined || 'skipped' in peer) return skip(peer?.skipped ?? 'cdi-check is unknown');
  const dir = await mkdtemp(join(tmpdir(), 'cdi-'));
  const plain: CdiEdits = {
    env: { BOARD: 'a=b' },
    deviceNodes: [
      {
        path: '/dev/board',
        hostPath: '/dev/null',
        type: 'c',
        major: 1,
        minor: 3,
        fileMode: 0o660,
        permissions: 'rw',
        uid: 0,
        gid: 44,
      },
    ],
    mounts: [{ hostPath: '/opt/board', containerPath: '/opt/board', options: ['ro', 'bind'], type: 'bind' }],
    hooks: [{ hookName: 'createContainer', path: '/bin/true', args: ['true', 'x'], env: ['A=b'], timeout: 3 }],
  };
  const cases: [kind: string, edits: CdiEdits, version: string][] = [
    ['example.com/plain', plain, '0.6.0'],
    ['example.com/with.dot', { env: { A: 'b' } }, '0.6.0'],
    ['example.com/groups', { ...plain, additionalGids: [44, 109] }, '0.7.0'],
    ['example.com/rdt', { intelRdt: { closID: 'fast', l3CacheSchema: 'L3:0=f', memBwSchema: 'MB:0=50' } }, '0.7.0'],
    [
      'example.com/rdt-schemata',
      { intelRdt: { closID: 'fast', schemata: ['L3:0=f'], enableMonitoring: true } },
      '1.1.0',
    ],
    ['example.com/net', { netDevices: [{ hostInterfaceName: 'eth1', name: 'net0' }] }, '1.1.0'],
  ];
  const [program = ''] = peer.command;
  const read = (): unknown => JSON.parse(execFileSync(program, [dir], { encoding: 'utf8' }));
  try {
    for (const [kind, edits] of cases) {
      const devices = ['a', cdiName('0000:01:00.0'), cdiName('/dev/tty=1')].map((name) => ({ name, edits }));
      await writeCdiFile(
        { kind, devices, edits: { env: { KIND: kind } }, annotations: { 'example.com/by': 'sdk' } },
        { dir },
      );
    }
    const names = ['0000:01:00.0', 'a', 'dev_tty_1'];
    expect(read()).toEqual({
      devices: cases.flatMap(([kind]) => names.map((name) => `${kind}=${name}`)).sort(),
      versions: Object.fromEntries(cases.map(([kind, , version]) => [`${kind.replace('/', '-')}.json`, version])),
      errors: {},
    });
    // And it would have told: a number too low for what is used is an error.
    const low = {
      cdiVersion: '0.6.0',
      kind: 'example.com/low',
      devices: [{ name: 'a', containerEdits: { additionalGids: [1] } }],
    };
    await writeFile(join(dir, 'low.json'), JSON.stringify(low));
    expect(read()).toMatchObject({ errors: { 'low.json': [expect.stringContaining('0.7.0')] } });
  } finally {
    await rm(dir, { recursive: true });
  }
});
