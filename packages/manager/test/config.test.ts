import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfig, parseDuration } from '../src/config.ts';

const dir = mkdtempSync(join(tmpdir(), 'dm-'));
afterAll(() => rmSync(dir, { recursive: true }));

function failure(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof DevmgrError && error.code === 'CONFIG_INVALID') return error.message.replaceAll(dir, '');
    throw error;
  }
  throw new Error('nothing was wrong');
}
function file(text: string): string {
  const path = join(dir, 'devmgr.yaml');
  writeFileSync(path, text);
  return path;
}

describe('loadConfig', () => {
  it('has defaults for everything but the root directory', () => {
    expect(loadConfig({ rootDir: '/r' })).toMatchObject({
      rootDir: '/r',
      runtime: 'process',
      verbosity: 0,
      maxReceiveBytes: 268_435_456,
      waitForPluginMs: 300_000,
      stoppedPluginGraceMs: 300_000,
      pluginCallTimeoutMs: 30_000,
      unknownResources: 'reject',
    });
  });

  it('lets flags win over the file', () => {
    const path = file(
      'nodeName: from-file\nwaitForPlugin: 1m30s\nresources:\n  example.com/gpu:\n    pluginCallTimeout: 2m\n',
    );
    const config = loadConfig({ rootDir: '/r', file: path, flags: { nodeName: 'from-flag', listen: undefined } });
    expect(config).toMatchObject({ nodeName: 'from-flag', waitForPluginMs: 90_000 });
    expect(config.resources.get('example.com/gpu')).toEqual({
      expected: true,
      pluginCallTimeoutMs: 120_000,
      release: {
        hookTimeoutMs: 300_000,
        releaseTimeoutMs: 30_000,
        releaseBackOffMs: 1_000,
        releaseBackOffMaxMs: 60_000,
        quarantineAfter: 5,
      },
    });
  });

  it('takes hooks of resources, and says what is wrong with them and where', () => {
    const hooks = (text: string) => loadConfig({ rootDir: '/r', file: file(`resources:\n  a.b/c:\n    ${text}\n`) });
    const { release, beforeUse } =
      hooks(
        '{ onRelease: [/sbin/reset, --all], beforeUse: [prepare], hookTimeout: 10m, quarantineAfter: 2 }',
      ).resources.get('a.b/c') ?? {};
    expect(release).toMatchObject({ onRelease: ['/sbin/reset', '--all'], hookTimeoutMs: 600_000, quarantineAfter: 2 });
    expect(beforeUse).toEqual(['prepare']);
    expect(failure(() => hooks('onRelease: /sbin/reset --all'))).toBe(
      '/devmgr.yaml:3:16: resources.a.b/c.onRelease: must be a list: the program, then its arguments; no shell is involved',
    );
    expect(failure(() => hooks('onRelease: []'))).toBe(
      '/devmgr.yaml:3:16: resources.a.b/c.onRelease: must name a program',
    );
    expect(failure(() => hooks('beforeUse: [bin/x]'))).toBe(
      '/devmgr.yaml:3:17: resources.a.b/c.beforeUse.0: must be an absolute path, or a name that is looked up in PATH',
    );
    expect(failure(() => hooks('hookTimeout: 0s'))).toBe(
      '/devmgr.yaml:3:18: resources.a.b/c.hookTimeout: must be longer than nothing',
    );
    expect(failure(() => hooks('quarantineAfter: 0'))).toMatch(
      /^\/devmgr\.yaml:3:22: resources\.a\.b\/c\.quarantineAfter: /,
    );
  });

  it('takes an empty file', () => {
    expect(loadConfig({ rootDir: '/r', file: file('') }).runtime).toBe('process');
  });

  it('names the place of what is wrong', () => {
    expect(
      failure(() => loadConfig({ rootDir: '/r', file: file('verbosity: 1\nwaitForPlugin: soon\n') })),
    ).toMatchInlineSnapshot(`"/devmgr.yaml:2:16: waitForPlugin: "soon" is not a duration such as 500ms, 30s or 5m"`);
    expect(failure(() => loadConfig({ rootDir: '/r', file: file('nodename: x\n') }))).toMatchInlineSnapshot(
      `"/devmgr.yaml:1:1: nodename: Unrecognized key: "nodename""`,
    );
    expect(failure(() => loadConfig({ rootDir: '/r', file: file('resources:\n  gpu: {}\n') }))).toMatchInlineSnapshot(
      `"/devmgr.yaml:2:3: resources.gpu: the ResourceName "gpu" is invalid"`,
    );
    expect(failure(() => loadConfig({ rootDir: '/r', file: file('a: [\n') }))).toMatch(/^\/devmgr\.yaml:2:1: /);
    expect(failure(() => loadConfig({ rootDir: '/r', file: file('- a\n') }))).toMatch(/devmgr\.yaml:1:1: /);
    expect(failure(() => loadConfig({ rootDir: '/r', file: join(dir, 'missing') }))).toMatch(
      /missing: cannot be read: ENOENT/,
    );
    expect(failure(() => loadConfig({ rootDir: '/r', flags: { listen: 'everywhere' } }))).toMatch(
      /^flag --listen: must be HOST:PORT/,
    );
  });
});

describe('topology settings', () => {
  const topology = (text: string, flags: Readonly<Record<string, unknown>> = {}) =>
    loadConfig({ rootDir: '/r', file: file(text), flags }).topology;

  it('are off unless asked for', () => {
    expect(topology('')).toEqual({
      policy: 'none',
      scope: 'container',
      options: { preferClosestNumaNodes: false, maxAllowableNumaNodes: 8 },
    });
  });

  it('come from the file and, before it, from flags', () => {
    const text =
      'topologyPolicy: restricted\ntopologyScope: pod\nnumaNodes:\n  - id: 0\n  - { id: 3, distances: [20, 10] }\n' +
      'topologyOptions:\n  prefer-closest-numa-nodes: true\n  max-allowable-numa-nodes: 12\n';
    expect(topology(text)).toEqual({
      policy: 'restricted',
      scope: 'pod',
      options: { preferClosestNumaNodes: true, maxAllowableNumaNodes: 12 },
      numaNodes: [{ id: 0 }, { id: 3, distances: [20, 10] }],
    });
    const flags = {
      topologyPolicy: 'single-numa-node',
      topologyOptions: { 'max-allowable-numa-nodes': '16' },
      numaFrom: '/copy',
    };
    expect(topology(text, flags)).toEqual({
      policy: 'single-numa-node',
      scope: 'pod',
      options: { preferClosestNumaNodes: true, maxAllowableNumaNodes: 16 },
      numaFrom: '/copy',
    });
  });

  it('scenario 136: are refused in the words of the kubelet', () => {
    expect(failure(() => topology('topologyPolicy: strict\n'))).toBe(
      '/devmgr.yaml:1:17: topologyPolicy: unknown policy: "strict"; one of none, best-effort, restricted, single-numa-node',
    );
    expect(failure(() => topology('topologyScope: node\n'))).toMatch(/topologyScope: unknown scope: "node"/);
    const options = 'topologyOptions: { prefer-nothing: 1 }\n';
    expect(failure(() => topology(`topologyPolicy: best-effort\n${options}`))).toBe(
      'topologyOptions: unknown Topology Manager Policy option: "prefer-nothing"',
    );
    expect(topology(options).policy).toBe('none'); // nobody looks at options without a policy
    expect(failure(() => topology('', { topologyPolicy: 'strict' }))).toMatch(
      /^flag --topology-policy: unknown policy: "strict"/,
    );
  });

  it('have nodes that can be', () => {
    const nodes = (list: string): string => failure(() => topology(`numaNodes: ${list}\n`));
    expect(nodes('[{ id: 64 }]')).toBe('/devmgr.yaml:1:19: numaNodes.0.id: bit number must be in range 0-63');
    expect(nodes('[{ id: 0 }, { id: 0 }]')).toMatch(/numaNodes\.1\.id: node 0 is there twice$/);
    expect(nodes('[{ id: 0, distances: [10, 20] }]')).toMatch(
      /distances: must have one number for each of the 1 nodes/,
    );
    expect(nodes('[]')).toMatch(/numaNodes: /);
    expect(failure(() => topology('numaNodes: [{ id: 0 }]\nnumaFrom: /copy\n'))).toMatch(/give one$/);
  });
});

describe('parseDuration', () => {
  it('reads Go-like durations and nothing else', () => {
    expect(['500ms', '30s', '1m30s', '2h'].map(parseDuration)).toEqual([500, 30_000, 90_000, 7_200_000]);
    expect(['', '5', 's', '1.5s', '-1s', '1d', '9999999999999999999h'].map(parseDuration)).toEqual(
      Array(7).fill(undefined),
    );
  });
});
