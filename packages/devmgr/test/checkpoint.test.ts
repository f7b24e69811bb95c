import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  decodeCheckpoint,
  encodeCheckpoint,
  explainCheckpoint,
  parseCheckpoint,
  type CheckpointEntry,
} from '@devmgr/core';
import { decodeContainerAllocateResponse, encodeContainerAllocateResponse } from '@devmgr/wire';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { CHECKPOINT_VECTORS } from '../../core/test/checkpoint-vectors.ts';
import { reportOn } from '../src/checkpoint/checkpoint-report.ts';
import { grantRows, holdingRows, registeredRows, viewOf } from '../src/checkpoint/checkpoint-view.ts';
import { devmgr, removeDirectories, temporaryDirectory } from './support/command-line.ts';

const directory = temporaryDirectory();
afterAll(removeDirectories);

/** No manager is there, and none is needed. */
const env = { DEVMGR_ROOT_DIR: join(directory, 'nobody') };
const cli = (...args: string[]): ReturnType<typeof devmgr> => devmgr(['checkpoint', ...args], { env });

/** A file that a kubelet wrote. */
function golden(name: string): string {
  return fileURLToPath(new URL(`../../core/test/golden/${name}.checkpoint`, import.meta.url));
}

function written(name: string, content: string | Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

/** The place of the file does not matter to what is said of it. */
function told(text: string, path: string): string {
  return text.replaceAll(path, 'FILE');
}

function vector(name: 'A' | 'B' | 'C' | 'D', checksum?: number): string {
  const known = CHECKPOINT_VECTORS.find((candidate) => candidate.name === name);
  const sum = String(checksum ?? known?.checksum);
  return written(`${name}-${sum}`, `{"Data":${known?.data ?? ''},"Checksum":${sum}}`);
}

function entry(podUid: string, id: string, changes: Partial<CheckpointEntry> = {}): CheckpointEntry {
  const devices = new Map([[0, [id]]]);
  return { podUid, container: 'c', resource: 'a.b/c', devices, response: new Uint8Array(), ...changes };
}

describe('show', () => {
  test('tells who holds what by NUMA node, and what was registered', async () => {
    expect((await cli('show', golden('kubelet-1.37'))).stdout).toMatchInlineSnapshot(`
      "POD                                    CONTAINER   RESOURCE                    NUMA     DEVICES
      11111111-2222-3333-4444-555555555555   c           example.com/gpu             1        <none>
      5c9f1f0e-8a57-4d9f-9d0e-2d2f6f4a7d10   log         example.com/fast-nic_v2.0   <none>   0000:3b:00.1
      5c9f1f0e-8a57-4d9f-9d0e-2d2f6f4a7d10   train       example.com/gpu             0        GPU-0,GPU-1
      5c9f1f0e-8a57-4d9f-9d0e-2d2f6f4a7d10   train       example.com/gpu             2        GPU-2
      5c9f1f0e-8a57-4d9f-9d0e-2d2f6f4a7d10   train       example.com/gpu             10       GPU-7
      5c9f1f0e-8a57-4d9f-9d0e-2d2f6f4a7d10   train       example.com/gpu             <none>   GPU-9

      RESOURCE                    REGISTERED   HEALTHY   HELD   FREE
      a.b/c                       yes          0         0      0
      example.com/fast-nic_v2.0   no           0         1      0
      example.com/gpu             yes          3         5      1
      z.example.com/empty         yes          0         0      0
      "
    `);
  });

  test('tells with -o wide what plugins gave, and which devices were healthy', async () => {
    const response = encodeContainerAllocateResponse({
      envs: new Map([['A', '1']]),
      mounts: [{ containerPath: '/ctr', hostPath: '/host', readOnly: true }],
      devices: [{ containerPath: '/dev/y', hostPath: '/dev/x', permissions: 'rw' }],
      annotations: new Map([['k', 'v']]),
      cdiDevices: [{ name: 'vendor.com/net=0' }],
    });
    const path = written(
      'wide',
      encodeCheckpoint({ entries: [entry('p', 'x', { response })], registered: new Map([['a.b/c', ['x', 'y']]]) }),
    );
    expect((await cli('show', path, '-o', 'wide')).stdout).toMatchInlineSnapshot(`
      "POD   CONTAINER   RESOURCE   NUMA   DEVICES
      p     c           a.b/c      0      x

      POD   CONTAINER   RESOURCE   KIND         VALUE
      p     c           a.b/c      env          A=1
      p     c           a.b/c      mount        /host:/ctr:ro
      p     c           a.b/c      device       /dev/x:/dev/y:rw
      p     c           a.b/c      annotation   k=v
      p     c           a.b/c      cdi          vendor.com/net=0

      RESOURCE   REGISTERED   HEALTHY   HELD   FREE   HEALTHY DEVICES
      a.b/c      yes          2         1      1      x,y
      "
    `);
    const { entries } = JSON.parse((await cli('show', path, '-o', 'json')).stdout) as { entries: unknown[] };
    expect(entries).toEqual([
      {
        podUid: 'p',
        container: 'c',
        resource: 'a.b/c',
        devices: { '0': ['x'] },
        response: {
          envs: { A: '1' },
          mounts: [{ containerPath: '/ctr', hostPath: '/host', readOnly: true }],
          devices: [{ containerPath: '/dev/y', hostPath: '/dev/x', permissions: 'rw' }],
          annotations: { k: 'v' },
          cdiDevices: ['vendor.com/net=0'],
        },
      },
    ]);
  });

  test('reads a file of kubelet 1.19, standard input, and the checkpoint of a directory', async () => {
    expect((await cli('show', golden('kubelet-1.19'))).stdout).toMatchInlineSnapshot(`
      "POD                                    CONTAINER   RESOURCE               NUMA     DEVICES
      11111111-2222-3333-4444-555555555555   ctr         example.com/resource   <none>   Dev-0,Dev-1
      p2                                     c           example.com/resource   <none>   <none>

      RESOURCE               REGISTERED   HEALTHY   HELD   FREE
      example.com/resource   yes          2         2      1
      "
    `);
    const stdin = readFileSync(golden('kubelet-1.37'), 'utf8');
    const expected = (await cli('show', golden('kubelet-1.37'))).stdout;
    expect((await devmgr(['checkpoint', 'show', '-'], { env, stdin })).stdout).toBe(expected);
    const root = join(directory, 'root');
    mkdirSync(join(root, 'device-plugins'), { recursive: true });
    writeFileSync(join(root, 'device-plugins/kubelet_internal_checkpoint'), stdin);
    expect((await cli('show', root)).stdout).toBe(expected);
    expect((await cli('show', join(root, 'device-plugins'))).stdout).toBe(expected);
  });

  test('of nothing says so beside the data', async () => {
    const path = vector('A');
    expect(await cli('show', path)).toMatchObject({ code: 0, stdout: '' });
    const ended = await cli('show', path);
    expect(told(ended.stderr, path)).toBe('FILE: no container holds a device.\nFILE: no resource is registered.\n');
  });

  test('shows a file of a wrong checksum, and fails', async () => {
    const path = vector('C', 1);
    const ended = await cli('show', path);
    expect(ended.code).toBe(1);
    expect(ended.stdout).toContain('Dev-1');
    expect(told(ended.stderr, path)).toMatchInlineSnapshot(`
      "error: FILE: checkpoint is corrupted: its checksum is 1, and its content needs 292927789
      A kubelet would start without it. If the content is as you want it, "devmgr checkpoint convert --ignore-checksum" signs it anew.
      "
    `);
  });

  test('does not let a device id speak to the terminal', async () => {
    const path = written(
      'escape',
      encodeCheckpoint({ entries: [entry('p', '\u001b[2J')], registered: new Map([['a.b/c', ['\u001b[2J']]]) }),
    );
    expect((await cli('show', path, '-o', 'wide')).stdout).not.toContain('\u001b');
  });
});

describe('verify', () => {
  test.each(['A', 'B', 'C'] as const)('accepts vector %s', async (name) => {
    const ended = await cli('verify', vector(name));
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    expect(ended.stdout).toContain('(correct)');
  });

  test('tells found and expected checksum of vector C with another one', async () => {
    const path = vector('C', 292927788);
    const ended = await cli('verify', path);
    expect(ended.code).toBe(1);
    expect(told(ended.stdout, path)).toMatchInlineSnapshot(`
      "File:        FILE (285 bytes)
      Verdict:     not valid
      Version:     <none>
      Checksum:    292927788 (expected 292927789 (version 2))
      Written by:  a kubelet
      Content:     1 entry of 1 pod, 1 resource
      Findings:
        Severity   Place      Message
        --------   -----      -------
        error      Checksum   292927788 is found and 292927789 (version 2) expected: the content was changed after it was written
      "
    `);
    expect(told(ended.stderr, path)).toMatchInlineSnapshot(`
      "error: FILE: Checksum: 292927788 is found and 292927789 (version 2) expected: the content was changed after it was written
      docs/checkpoint.md says what each finding means and what can be done.
      "
    `);
  });

  test('finds what a kubelet would drop in vector D', async () => {
    const path = vector('D');
    const ended = await cli('verify', path);
    expect(ended.code).toBe(1);
    expect(told(ended.stdout, path)).toMatchInlineSnapshot(`
      "File:        FILE (335 bytes)
      Verdict:     not valid
      Version:     2
      Checksum:    3307157434 (correct)
      Written by:  a kubelet
      Content:     2 entries of 1 pod, 2 resources
      Findings:
        Severity   Place                                Message
        --------   -----                                -------
        error      Data.PodDeviceEntries[1].AllocResp   is missing: a kubelet drops the entry, and gives its devices away
        note       Data.PodDeviceEntries[0]             d/r was not registered any more when the file was written
        note       Data.PodDeviceEntries[1]             d/r was not registered any more when the file was written
      "
    `);
  });

  test('finds one device in two pods, and not one that containers of a pod share', async () => {
    const entries = [entry('one', 'x'), entry('one', 'x', { container: 'later' }), entry('two', 'x')];
    const path = written('twice', encodeCheckpoint({ entries, registered: new Map([['a.b/c', ['x']]]) }));
    const ended = await cli('verify', path, '-o', 'json');
    expect(ended.code).toBe(1);
    expect(JSON.parse(ended.stdout)).toMatchObject({
      valid: false,
      version: 2,
      entries: 3,
      pods: 2,
      findings: [
        {
          severity: 'error',
          place: 'Data.PodDeviceEntries[2].DeviceIDs',
          message: 'x of a.b/c is given to two pods: one (c, Data.PodDeviceEntries[0]) and two (c)',
        },
      ],
    });
    expect(ended.stderr).toContain('is given to two pods');
  });

  test('finds repeated entries, garbage for an answer, and names that are none', async () => {
    const entries = [
      entry('p', 'x'),
      entry('p', 'y'),
      entry('', '', {
        container: '',
        resource: 'cpu',
        response: Uint8Array.from([255]),
        devices: new Map([[-7, ['']]]),
      }),
    ];
    const path = written('odd', encodeCheckpoint({ entries, registered: new Map([['a.b/c', ['x', 'y']]]) }));
    const ended = await cli('verify', path);
    expect(ended.code).toBe(1);
    expect(told(ended.stdout, path)).toMatchInlineSnapshot(`
      "File:        FILE (383 bytes)
      Verdict:     not valid
      Version:     2
      Checksum:    515047845 (correct)
      Written by:  a kubelet
      Content:     3 entries of 2 pods, 1 resource
      Findings:
        Severity   Place                                    Message
        --------   -----                                    -------
        error      Data.PodDeviceEntries[1]                 the same pod, container and resource as Data.PodDeviceEntries[0]
        error      Data.PodDeviceEntries[2].PodUID          is empty
        error      Data.PodDeviceEntries[2].ContainerName   is empty
        error      Data.PodDeviceEntries[2].ResourceName    "cpu" is no name of an extended resource
        error      Data.PodDeviceEntries[2].AllocResp       cannot be decoded: a kubelet drops the entry, and gives its devices away
        error      Data.PodDeviceEntries[2].DeviceIDs       -7 is no NUMA node
        error      Data.PodDeviceEntries[2].DeviceIDs       a device has an empty id
        note       Data.PodDeviceEntries[2]                 cpu was not registered any more when the file was written
      "
    `);
  });

  test.each([
    ['empty', '', 'the file is empty'],
    ['zeros', new Uint8Array(64), '64 zero bytes'],
    ['half', '{"Data":{"PodDeviceEntries":[{"Pod', 'not JSON (34 bytes)'],
    ['list', '[]', 'must be an object'],
    ['cpu', '{"policyName":"none","defaultCpuSet":"","checksum":1353318690}', 'CPU or memory manager'],
    ['pod', '{"kind":"Pod"}', 'looks like a Kubernetes object'],
    [
      'shape',
      '{"Data":{"PodDeviceEntries":[{"DeviceIDs":7}]}}',
      'Data.PodDeviceEntries[0].DeviceIDs: must be an object',
    ],
  ])('says what is wrong with a file that is no checkpoint: %s', async (name, content, message) => {
    const path = written(`no-${name}`, content);
    const verified = await cli('verify', path);
    expect(verified).toMatchObject({ code: 1 });
    expect(verified.stdout).toContain('not valid');
    expect(verified.stdout).toContain(message);
    const shown = await cli('show', path);
    expect(shown).toMatchObject({ code: 1, stdout: '' });
    expect(shown.stderr).toContain(message);
    expect(shown.stderr).toMatch(/^error: .*\n.+\n$/);
  });

  test('a file that is not there ends with 3, one that may not be read with 1', async () => {
    const missing = await cli('verify', join(directory, 'missing'));
    expect(missing).toMatchObject({ code: 3, stdout: '' });
    expect(missing.stderr).toMatch(/^error: .*: there is no such file\nCheck the path\.\n$/);
    const none = await cli('verify', directory);
    expect(none).toMatchObject({ code: 3, stdout: '' });
    expect(none.stderr).toContain('there is no checkpoint in this directory');
    if (process.geteuid?.() === 0) return; // who may read everything
    const secret = written('secret', '{}');
    chmodSync(secret, 0);
    expect((await cli('verify', secret)).stderr).toContain('may not be read');
  });
});

test('whatever is in a file, looking at it does not fail', () => {
  const seeds = ['kubelet-1.37', 'kubelet-1.19', 'devmgr'].map((name) => readFileSync(golden(name)));
  const mutants = fc
    .tuple(fc.constantFrom(...seeds), fc.array(fc.tuple(fc.nat(), fc.integer({ min: 32, max: 126 })), { maxLength: 4 }))
    .map(([seed, changes]) => {
      const bytes = Uint8Array.from(seed);
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
      return bytes;
    });
  let readable = 0;
  fc.assert(
    fc.property(mutants, (bytes) => {
      const parsed = parseCheckpoint(bytes);
      const file = { path: 'FILE', sizeBytes: bytes.length, parsed };
      reportOn(file);
      if (!parsed.ok) return;
      readable += 1;
      const view = viewOf({ ...file, parsed }, decodeContainerAllocateResponse);
      holdingRows(view);
      grantRows(view);
      registeredRows({ ...file, parsed });
      explainCheckpoint(parsed.data, new Map([['example.com/gpu', 3]]));
    }),
    { numRuns: 500 },
  );
  expect(readable).toBeGreaterThan(50);
});

describe('convert', () => {
  test('a file of kubelet 1.19 becomes one of today, and is what it was when it comes back', async () => {
    const out = join(directory, 'v2');
    const there = await cli('convert', golden('kubelet-1.19'), '-O', out);
    expect(there).toMatchObject({ code: 0, stdout: '' });
    expect(there.stderr).toBe('note: version 1 has no NUMA nodes: devices are put on node 0, as kubelets do\n');
    expect(statSync(out).mode & 0o777).toBe(0o600);
    expect(decodeCheckpoint(readFileSync(out))).toMatchObject({ ok: true, version: 2 });
    const back = await cli('convert', out, '--to', 'v1');
    expect(back.code).toBe(0);
    expect(back.stderr).toContain('on which nodes devices are is lost');
    expect(back.stdout).toBe(readFileSync(golden('kubelet-1.19'), 'utf8'));
  });

  test('a file of today stays the same to the byte, and --plain takes devmgr’s own part away', async () => {
    const kubelets = readFileSync(golden('kubelet-1.37'), 'utf8');
    expect((await cli('convert', golden('kubelet-1.37'))).stdout).toBe(kubelets);
    expect((await cli('convert', golden('devmgr'))).stdout).toContain('"devmgr":');
    expect((await cli('convert', golden('devmgr'), '--plain')).stdout).toBe(kubelets);
  });

  test('an edited file is signed again only when told to', async () => {
    const edited = written('edited', readFileSync(golden('kubelet-1.37'), 'utf8').replace('GPU-9', 'GPU-5'));
    const refused = await cli('convert', edited, '-O', edited);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain('--ignore-checksum');
    expect(await cli('convert', edited, '--ignore-checksum', '-O', edited)).toMatchObject({ code: 0 });
    expect(await cli('verify', edited)).toMatchObject({ code: 0 });
    expect(readFileSync(edited, 'utf8')).toContain('GPU-5');
  });

  test('what cannot be written is said in one line', async () => {
    const ended = await cli('convert', golden('kubelet-1.37'), '-O', join(directory, 'no/such/place'));
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toMatch(/^error: .*no\/such\/place: cannot be written: .*\n.+\n$/);
  });
});

describe('explain --checkpoint', () => {
  const explain = (...args: string[]): ReturnType<typeof devmgr> =>
    devmgr(['explain', '--checkpoint', ...args], { env });

  test('tells who holds what', async () => {
    expect((await explain(golden('kubelet-1.37'))).stdout).toMatchInlineSnapshot(`
      "Content:  4 resources, 6 devices held.
      In the file:
        Resource                    Listed   Healthy   Held   Reserved   Free   Unhealthy devices
        --------                    ------   -------   ----   --------   ----   -----------------
        a.b/c                       0        0         0      0          0      <none>
        example.com/fast-nic_v2.0   0        0         1      0          0      0000:3b:00.1 (held, not healthy)
        example.com/gpu             3        3         5      0          1      GPU-2, GPU-7, GPU-9 (held, not healthy)
        z.example.com/empty         0        0         0      0          0      <none>
      Held in the file, example.com/fast-nic_v2.0:
        Pod                                    Container   Devices
        ---                                    ---------   -------
        5c9f1f0e-8a57-4d9f-9d0e-2d2f6f4a7d10   log         0000:3b:00.1
      Held in the file, example.com/gpu:
        Pod                                    Container   Devices
        ---                                    ---------   -------
        5c9f1f0e-8a57-4d9f-9d0e-2d2f6f4a7d10   train       GPU-0, GPU-1, GPU-2, GPU-7, GPU-9
      "
    `);
  });

  test('tells whether a wish would fit', async () => {
    const fits = await explain(golden('kubelet-1.37'), '--limits', 'example.com/gpu=1', '-o', 'json');
    expect(JSON.parse(fits.stdout)).toMatchObject({ kind: 'Explanation', source: 'checkpoint', verdict: 'WouldFit' });
    expect((await explain(golden('kubelet-1.37'), '--limits', 'example.com/gpu=2')).stdout).toMatchInlineSnapshot(`
      "Verdict:     Would be refused
      Why:         2 devices of example.com/gpu: 2 devices still needed, and 1 free.
      What helps:  - End 5c9f1f0e-8a57-4d9f-9d0e-2d2f6f4a7d10 (2): then 3 of example.com/gpu are free.
                   - Ask for at most 1 of example.com/gpu: so many are free.
      Asked:
        Resource          Asked   Listed   Healthy   Held   Free   Outcome                       Devices
        --------          -----   ------   -------   ----   ----   -------                       -------
        example.com/gpu   2       3        3         5      1      Refused by "enough devices"   <none>
      Rules tried for example.com/gpu:
        Rule                      Outcome   Found
        ----                      -------   -----
        unchanged request         passed    Nothing is recorded for the container yet.
        resource registered       passed    The resource is registered.
        healthy devices present   passed    3 of 3 listed are healthy.
        enough devices            refused   2 devices still needed, and 1 free.
      In the file:
        Resource          Listed   Healthy   Held   Reserved   Free   Unhealthy devices
        --------          ------   -------   ----   --------   ----   -----------------
        example.com/gpu   3        3         5      0          1      GPU-2, GPU-7, GPU-9 (held, not healthy)
      Held in the file, example.com/gpu:
        Pod                                    Container   Devices
        ---                                    ---------   -------
        5c9f1f0e-8a57-4d9f-9d0e-2d2f6f4a7d10   train       GPU-0, GPU-1, GPU-2, GPU-7, GPU-9
      "
    `);
  });

  test('warns of a wrong checksum', async () => {
    const ended = await explain(vector('C', 1));
    expect(ended.code).toBe(0);
    expect(ended.stdout).toContain('Dev-1');
    expect(ended.stderr).toMatch(/^warning: .*checkpoint is corrupted/);
  });

  test('takes no pod besides', async () => {
    const ended = await explain(golden('kubelet-1.37'), 'worker');
    expect(ended).toMatchObject({ code: 2, stdout: '' });
    expect(ended.stderr).toContain('explain takes either a pod or --checkpoint');
  });
});
