import { checkPod, containerRequests, invalidObjectMessage, podRequest, type Pod } from '@devmgr/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

/** A manifest with these parts in place of its own. */
function manifest(parts: { metadata?: object; spec?: object; container?: object } = {}): object {
  const container = { name: 'c', image: 'busybox', ...parts.container };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', ...parts.metadata },
    spec: { containers: [container], ...parts.spec },
  };
}

function errorsOf(value: unknown): readonly string[] {
  const check = checkPod(value);
  return check.ok ? [] : check.errors.map(({ path, message }) => `${path}: ${message}`);
}

function checked(value: unknown): Pod {
  const check = checkPod(value);
  if (!check.ok) throw new Error(JSON.stringify(check.errors));
  return check.pod;
}

const resources = (limits: object, requests?: object): object =>
  manifest({ container: { resources: { limits, ...(requests && { requests }) } } });

describe('checkPod', () => {
  test('everything that devmgr does not read is accepted and kept as it is', () => {
    const full = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: 'a.b-c',
        namespace: 'team-1',
        labels: { 'app.kubernetes.io/name': 'x' },
        annotations: { any: 'thing' },
        ownerReferences: [{ kind: 'Job', uid: '1' }],
        finalizers: ['x/y'],
        managedFields: [{ fieldsV1: { 'f:spec': {} } }],
      },
      spec: {
        nodeSelector: { gpu: 'true' },
        tolerations: [{ operator: 'Exists' }],
        affinity: { nodeAffinity: null },
        securityContext: { runAsUser: 1000 },
        restartPolicy: 'OnFailure',
        terminationGracePeriodSeconds: 0,
        volumes: [{ name: 'v', emptyDir: {} }],
        ephemeralContainers: [{ name: 'debug' }],
        overhead: { cpu: '1' },
        fieldFromTheFuture: [[[1.5]]],
        initContainers: [{ name: 'i', restartPolicy: 'Always' }, { name: 'j' }],
        containers: [
          {
            name: 'c',
            ports: [{ containerPort: 80 }],
            livenessProbe: { exec: { command: ['true'] } },
            env: [
              { name: 'N', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
              { name: 'S', valueFrom: { secretKeyRef: {} } },
            ],
            envFrom: [{ configMapRef: { name: 'x' } }],
            resources: {
              limits: {
                'example.com/gpu': 2,
                cpu: '1500m',
                memory: '1Gi',
                'hugepages-2Mi': '4Mi',
                'ephemeral-storage': '1G',
              },
              requests: { 'example.com/gpu': '2', cpu: 1, 'hugepages-2Mi': '4096Ki' },
              claims: [{ name: 'claim' }],
            },
          },
        ],
      },
      status: { phase: 'Running', conditions: [{ type: 'Ready' }] },
    };
    const before = JSON.stringify(full);
    expect(checked(full)).toBe(full);
    expect(JSON.stringify(full)).toBe(before);
  });

  test.each([
    [null, ': Invalid value: null: must be an object'],
    [[], ': Invalid value: an array: must be an object'],
    [7, ': Invalid value: 7: must be an object'],
    ['pod', ': Invalid value: "pod": must be an object'],
    [new Map(), ': Invalid value: a Map: must be something JSON can hold'],
    [{}, 'apiVersion: Required value: must be "v1"'],
    [{ apiVersion: 'v1', kind: 'Deployment' }, 'kind: Unsupported value: "Deployment": supported values: "Pod"'],
    [{ apiVersion: 'apps/v1', kind: 'Pod' }, 'apiVersion: Unsupported value: "apps/v1": supported values: "v1"'],
    [{ apiVersion: 'v1', kind: 'Pod' }, 'metadata.name: Required value'],
    [{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' } }, 'spec.containers: Required value'],
    [
      manifest({ metadata: { name: 'A_b' } }),
      /^metadata\.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain must /,
    ],
    [manifest({ metadata: { name: 'x'.repeat(254) } }), /^metadata\.name: Invalid value: /],
    [manifest({ metadata: { name: '../x' } }), /^metadata\.name: Invalid value: "\.\.\/x": /],
    [manifest({ metadata: { name: 5 } }), 'metadata.name: Invalid value: 5: must be a string'],
    [
      manifest({ metadata: { namespace: 'a.b' } }),
      /^metadata\.namespace: Invalid value: "a\.b": a lowercase RFC 1123 label /,
    ],
    [manifest({ metadata: { labels: { a: 1 } } }), 'metadata.labels[a]: Invalid value: 1: must be a string'],
    [manifest({ metadata: { annotations: [] } }), 'metadata.annotations: Invalid value: an array: must be an object'],
    [manifest({ metadata: { uid: 1 } }), 'metadata.uid: Invalid value: 1: must be a string'],
    [manifest({ spec: { containers: [] } }), 'spec.containers: Required value'],
    [manifest({ spec: { containers: {} } }), 'spec.containers: Invalid value: an object: must be an array'],
    [manifest({ spec: { containers: [null] } }), 'spec.containers[0]: Invalid value: null: must be an object'],
    [
      manifest({ spec: { containers: [{ name: 'a' }, { name: 'a' }] } }),
      'spec.containers[1].name: Duplicate value: "a"',
    ],
    [manifest({ spec: { initContainers: [{ name: 'c' }] } }), 'spec.containers[0].name: Duplicate value: "c"'],
    [manifest({ container: { name: '' } }), 'spec.containers[0].name: Required value'],
    [
      manifest({ container: { name: 'C' } }),
      /^spec\.containers\[0\]\.name: Invalid value: "C": a lowercase RFC 1123 label /,
    ],
    [manifest({ container: { command: 'run' } }), 'spec.containers[0].command: Invalid value: "run": must be an array'],
    [manifest({ container: { args: ['a', 1] } }), 'spec.containers[0].args[1]: Invalid value: 1: must be a string'],
    [
      manifest({ container: { args: ['a\0'] } }),
      /^spec\.containers\[0\]\.args\[0\]: Invalid value: "a\\x00": must not contain a NUL/,
    ],
    [manifest({ container: { env: [{ value: 'x' }] } }), 'spec.containers[0].env[0].name: Required value'],
    [
      manifest({ container: { env: [{ name: 'a=b' }] } }),
      /^spec\.containers\[0\]\.env\[0\]\.name: Invalid value: "a=b": /,
    ],
    [
      manifest({ container: { env: [{ name: 'a', value: 1 }] } }),
      'spec.containers[0].env[0].value: Invalid value: 1: must be a string',
    ],
    [
      manifest({ container: { env: [{ name: 'a', valueFrom: { fieldRef: {} } }] } }),
      'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Required value',
    ],
    [
      manifest({ spec: { restartPolicy: 'Sometimes' } }),
      'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"',
    ],
    [
      manifest({ spec: { terminationGracePeriodSeconds: -1 } }),
      'spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0',
    ],
    [
      manifest({ spec: { terminationGracePeriodSeconds: '5' } }),
      'spec.terminationGracePeriodSeconds: Invalid value: "5": must be an integer',
    ],
    [manifest({ spec: { nodeName: [] } }), 'spec.nodeName: Invalid value: an array: must be a string'],
    [manifest({ spec: { weight: Number.NaN } }), 'spec.weight: Invalid value: NaN: must be a finite number'],
    [{ ...manifest(), status: 'Running' }, 'status: Invalid value: "Running": must be an object'],
  ])('refuses %j', (value, expected) => {
    const errors = errorsOf(value);
    if (typeof expected === 'string') expect(errors).toContain(expected);
    else expect(errors.join('\n')).toMatch(expected);
  });

  const AT = 'spec.containers[0].resources';
  test.each([
    [
      { 'example.com/gpu': '1.5' },
      undefined,
      `${AT}.limits[example.com/gpu]: Invalid value: "1.5": must be an integer`,
    ],
    [
      { 'example.com/gpu': '500m' },
      undefined,
      `${AT}.limits[example.com/gpu]: Invalid value: "500m": must be an integer`,
    ],
    [
      { 'example.com/gpu': -1 },
      undefined,
      `${AT}.limits[example.com/gpu]: Invalid value: "-1": must be greater than or equal to 0`,
    ],
    [
      { 'example.com/gpu': 'many' },
      undefined,
      /^spec\.containers\[0\]\.resources\.limits\[example\.com\/gpu\]: Invalid value: "many": quantities must match/,
    ],
    [{ 'example.com/gpu': null }, undefined, `${AT}.limits[example.com/gpu]: Invalid value: null: must be a quantity`],
    [
      { 'example.com/gpu': 2 },
      { 'example.com/gpu': 1 },
      `${AT}.requests: Invalid value: "1": must be equal to example.com/gpu limit of 2`,
    ],
    [
      { 'example.com/gpu': '1k' },
      { 'example.com/gpu': 999 },
      `${AT}.requests: Invalid value: "999": must be equal to example.com/gpu limit of 1k`,
    ],
    [{}, { 'example.com/gpu': 1 }, `${AT}.limits: Required value: Limit must be set for non overcommitable resources`],
    [{ cpu: 1 }, { cpu: 2 }, `${AT}.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`],
    [{ gpu: 1 }, undefined, `${AT}.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers`],
    [
      { 'Example.com/gpu': 1 },
      undefined,
      `${AT}.limits[Example.com/gpu]: Invalid value: "Example.com/gpu": doesn't follow extended resource name standard`,
    ],
    [[], undefined, `${AT}.limits: Invalid value: an array: must be an object`],
  ])('refuses limits %j with requests %j', (limits, requests, expected) => {
    const errors = errorsOf(resources(limits, requests));
    if (typeof expected === 'string') expect(errors).toEqual([expected]);
    else expect(errors.join('\n')).toMatch(expected);
  });

  test.each([
    [{ 'example.com/gpu': 0 }, undefined],
    [{ 'example.com/gpu': '1e3' }, { 'example.com/gpu': '1k' }],
    [{ 'example.com/gpu': 1.0 }, { 'example.com/gpu': '1000m' }],
    [{}, { cpu: '100m' }],
    [{ 'attachable.kubernetes.io/x': '1.5' }, undefined],
  ])('accepts limits %j with requests %j', (limits, requests) => {
    expect(errorsOf(resources(limits, requests))).toEqual([]);
  });

  test('all that is wrong is said at once, in one line if need be', () => {
    const bad = manifest({
      metadata: { name: 'B' },
      container: { name: '', resources: { limits: { 'a.b/c': '0.5' } } },
    });
    const check = checkPod(bad);
    expect(check.ok).toBe(false);
    if (check.ok) return;
    expect(check.errors.map(({ path }) => path)).toEqual([
      'metadata.name',
      'spec.containers[0].name',
      'spec.containers[0].resources.limits[a.b/c]',
    ]);
    expect(invalidObjectMessage('Pod', 'B', check.errors.slice(1))).toBe(
      'Pod "B" is invalid: [spec.containers[0].name: Required value, spec.containers[0].resources.limits[a.b/c]: Invalid value: "0.5": must be an integer]',
    );
    expect(invalidObjectMessage('Pod', 'B', check.errors.slice(1, 2))).toBe(
      'Pod "B" is invalid: spec.containers[0].name: Required value',
    );
  });

  test('a million errors are counted, not listed', () => {
    const check = checkPod(manifest({ spec: { containers: Array.from({ length: 1000 }, () => 1) } }));
    expect(check.ok ? [] : check.errors).toHaveLength(51);
    expect(check.ok ? undefined : check.errors.at(-1)?.message).toBe('and 950 more');
  });

  test('names from JavaScript itself are names like any other', () => {
    const text =
      '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"__proto__":"x"}},"spec":{"__proto__":{"restartPolicy":"Bad"},"containers":[{"name":"c","resources":{"requests":{"a.b/constructor":1},"limits":{"__proto__":1,"toString":1,"a.b/constructor":1}}}]}}';
    expect(errorsOf(JSON.parse(text))).toEqual([
      `${AT}.limits[__proto__]: Invalid value: "__proto__": must be a standard resource for containers`,
      `${AT}.limits[toString]: Invalid value: "toString": must be a standard resource for containers`,
    ]);
    expect(errorsOf(Object.create(manifest()))).not.toEqual([]);
  });

  test('deep, cyclic and multiplying values are refused', () => {
    let deep: unknown = 1;
    for (let level = 0; level < 100_000; level++) deep = [deep];
    expect(errorsOf(manifest({ spec: { deep } }))).toEqual([
      expect.stringContaining('nested more than 100 levels deep'),
    ]);
    const cyclic: Record<string, unknown> = {};
    cyclic['again'] = cyclic;
    expect(errorsOf(manifest({ spec: { cyclic } }))).toEqual([expect.stringContaining('nested more than')]);
    let laughs: unknown = 'ha';
    for (let level = 0; level < 30; level++) laughs = [laughs, laughs, laughs];
    expect(errorsOf(manifest({ spec: { laughs } }))).toEqual([expect.stringContaining('more than 1000000 values')]);
  });

  test('no value whatever makes it throw, and what it accepts can be read', () => {
    const names = fc.constantFrom(
      'name',
      'containers',
      'initContainers',
      'resources',
      'limits',
      'requests',
      'env',
      'spec',
      'metadata',
      '__proto__',
      'a.b/c',
      'command',
      'status',
    );
    const leaf = fc.oneof(fc.anything(), fc.constantFrom('p', 'c', 1, '1', null));
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { maxDepth: 6 },
        leaf,
        fc.array(tie('tree'), { maxLength: 3 }),
        fc.dictionary(names, tie('tree'), { maxKeys: 4 }),
      ),
    }));
    fc.assert(
      fc.property(tree, tree, tree, (a, b, c) => {
        const pod = {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: 'p', labels: a },
          spec: { containers: [{ name: 'c', resources: b, env: c }] },
        };
        for (const value of [a, pod, { ...pod, spec: a }, { ...pod, status: b }]) {
          const check = checkPod(value);
          if (check.ok) podRequest(check.pod);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

interface Wish {
  readonly name: string;
  readonly limits?: object;
  readonly requests?: object;
  readonly restartPolicy?: string;
}

function podOf(init: readonly Wish[], app: readonly Wish[], status?: object): Pod {
  const container = ({ name, limits, requests, restartPolicy }: Wish): object => ({
    name,
    ...(restartPolicy && { restartPolicy }),
    resources: { ...(limits && { limits }), ...(requests && { requests }) },
  });
  return checked({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p' },
    spec: { initContainers: init.map(container), containers: app.map(container) },
    ...(status && { status }),
  });
}

const R = 'example.com/r';
const wish = (name: string, count: number, restartPolicy?: string): Wish => ({
  name,
  limits: { [R]: count },
  ...(restartPolicy && { restartPolicy }),
});

describe('what a pod asks for', () => {
  test('init containers and sidecars come first, as written; only limits of extended resources count, zero included', () => {
    const pod = podOf(
      [{ name: 'i', limits: { [R]: '2', cpu: 1 } }, wish('side', 1, 'Always'), { name: 'j' }],
      [
        { name: 'a', limits: { [R]: 0, 'example.com/s': '1k' }, requests: { cpu: '1' } },
        { name: 'b', requests: { memory: 1 } },
      ],
    );
    expect(containerRequests(pod)).toEqual([
      { container: 'i', kind: 'init', resources: new Map([[R, 2]]) },
      { container: 'side', kind: 'sidecar', resources: new Map([[R, 1]]) },
      { container: 'j', kind: 'init', resources: new Map() },
      {
        container: 'a',
        kind: 'app',
        resources: new Map([
          [R, 0],
          ['example.com/s', 1000],
        ]),
      },
      { container: 'b', kind: 'app', resources: new Map() },
    ]);
  });

  test('scenario 94: requests without limits ask for nothing, and are refused', () => {
    expect(errorsOf(resources({}, { [R]: 1 }))).toEqual([
      'spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources',
    ]);
    const unchecked = resources({}, { [R]: 1 }) as Pod;
    expect(containerRequests(unchecked).map(({ resources: asked }) => asked.size)).toEqual([0]);
  });

  test('scenario 90: what DRA serves for a container is left out', () => {
    const status = {
      extendedResourceClaimStatus: {
        resourceClaimName: 'x',
        requestMappings: [{ containerName: 'a', resourceName: R, requestName: 'r' }, null, { containerName: 1 }],
      },
    };
    const pod = podOf([], [wish('a', 1), wish('b', 2)], status);
    expect(containerRequests(pod).map(({ resources: asked }) => [...asked])).toEqual([[], [[R, 2]]]);
    expect(podRequest(pod)).toEqual(new Map([[R, 2]]));
    expect(podRequest(podOf([], [wish('a', 1)], { extendedResourceClaimStatus: { requestMappings: 'x' } }))).toEqual(
      new Map([[R, 1]]),
    );
  });

  test.each([
    { init: [wish('i', 2), wish('j', 2)], app: [wish('a', 1), wish('b', 1)], expected: 2 },
    { init: [wish('i', 2), wish('j', 3)], app: [wish('a', 1), wish('b', 1)], expected: 3 },
    { init: [wish('i', 2), wish('j', 2)], app: [wish('a', 3), wish('b', 3)], expected: 6 },
    { init: [wish('s', 1, 'Always'), wish('i', 3)], app: [wish('a', 1)], expected: 4 },
    { init: [wish('i', 3), wish('s', 1, 'Always')], app: [wish('a', 1)], expected: 3 },
    { init: [wish('s', 2, 'Always'), wish('t', 2, 'Always')], app: [wish('a', 1)], expected: 5 },
    { init: [wish('i', 5), wish('s', 2, 'Always'), wish('j', 1)], app: [wish('a', 2)], expected: 5 },
  ])('scenario 122: $expected at most at any one time', ({ init, app, expected }) => {
    expect(podRequest(podOf(init, app))).toEqual(new Map([[R, expected]]));
  });

  test('scenario 122: a pod that asks for nothing', () => {
    expect(podRequest(podOf([], [{ name: 'a' }]))).toEqual(new Map());
  });
});
