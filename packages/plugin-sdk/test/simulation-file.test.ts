import { expect, test } from 'vitest';
import { DevmgrError } from '@devmgr/core';
import { parseSimulation } from '@devmgr/plugin-sdk';

const errorOf = (text: string): string => {
  try {
    parseSimulation(text, 'sim.yaml');
  } catch (error) {
    expect(error).toBeInstanceOf(DevmgrError);
    expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
    const { message } = error as Error;
    expect(message).not.toContain('\n');
    return message;
  }
  throw new Error('was accepted');
};

test('several resources, or the fields of one', () => {
  const one = parseSimulation('resource: example.com/gpu\ncount: 2\n', 'sim.yaml');
  expect(one.resources).toEqual([{ resource: 'example.com/gpu', count: 2 }]);
  const json = parseSimulation('{"resource": "example.com/gpu", "ids": ["a"]}', 'sim.json');
  expect(json.resources).toEqual([{ resource: 'example.com/gpu', ids: ['a'] }]);
  const text = `
resources:
  - resource: example.com/gpu
    count: 8
    numaNodes: 2
    env: { VISIBLE_DEVICES: "{indexes}", LEVEL: 3, ON: true }
    mounts: [{ hostPath: /usr/share, containerPath: /data, readOnly: true }]
    deviceNodes: [{ hostPath: /dev/null, permissions: rw }]
    annotations: { example.com/ids: "{ids}" }
    cdi: ["example.com/gpu={id}"]
    preferredAllocation: true
    timeline:
      - { at: 3s, health: { gpu-3: Unhealthy } }
      - { at: 1.5m, every: 500ms, remove: [gpu-1], add: [gpu-9, { id: gpu-10, numaNodes: [1] }] }
      - { at: 0, hang: allocate, fail: { preStart: no power }, slow: { allocate: 200ms }, calm: true }
      - { at: 2s, flap: { devices: [gpu-2], every: 1s, for: 10s }, flood: { perSecond: 100 }, lie: health }
      - { at: 3s, lie: true, oversize: 5M, die: 3s, calm: [allocate] }
      - { at: 4s, restart: { idPrefix: new- } }
      - { at: 5s, health: { new-9: Unhealthy }, die: true }
  - resource: example.com/fpga
    devices: [{ id: f0, health: Unhealthy }]
`;
  const { resources } = parseSimulation(text, 'sim.yaml');
  expect(resources).toHaveLength(2);
  expect(resources[0]).toMatchObject({
    numaNodes: [0, 1],
    env: { LEVEL: '3', ON: 'true' },
    timeline: [
      { at: 3_000, health: { 'gpu-3': 'Unhealthy' } },
      { at: 90_000, every: 500, add: [{ id: 'gpu-9' }, { id: 'gpu-10', numaNodes: [1] }] },
      {
        at: 0,
        hang: ['allocate'],
        slow: { allocate: 200 },
        calm: true,
      },
      {
        at: 2_000,
        flap: { devices: ['gpu-2'], every: 1_000, for: 10_000 },
        flood: { perSecond: 100 },
        lie: ['health'],
      },
      {
        at: 3_000,
        lie: ['allocate', 'preferredAllocation', 'health', 'ids'],
        oversize: 5 * 2 ** 20,
        die: 3_000,
        calm: ['allocate'],
      },
      { at: 4_000, restart: { idPrefix: 'new-' } },
      { at: 5_000, health: { 'new-9': 'Unhealthy' }, die: true },
    ],
  });
});

test.each([
  ['resource: gpu\ncount: 1\n', /^sim\.yaml:1:11: resource: the ResourceName "gpu" is invalid/],
  ['resource: example.com/gpu\n', /^sim\.yaml:1:1: needs exactly one of count, ids and devices, and has none$/],
  [
    'resource: example.com/gpu\ncount: 1\nids: [a]\n',
    /^sim\.yaml:3:6: ids: needs exactly one of .* has count and ids$/,
  ],
  ['resource: example.com/gpu\ncount: -1\n', /^sim\.yaml:2:8: count: /],
  ['resource: example.com/gpu\ncount: "8"\n', /^sim\.yaml:2:8: count: .*expected number/],
  ['resource: example.com/gpu\nids: [a, b, a]\n', /^sim\.yaml:2:13: ids\[2\]: device id "a" is there twice$/],
  ['resource: example.com/gpu\ncount: 1\ncuont: 2\n', /^sim\.yaml:3:1: unknown field "cuont"$/],
  ['resources:\n  - count: 1\n', /^sim\.yaml:2:5: resources\[0\]\.resource: is required$/],
  ['resources: []\n', /^sim\.yaml:1:12: resources: names no resource$/],
  ['', /^sim\.yaml:1:1: /],
  ['resource: [\n', /^sim\.yaml:2:1: /],
  ['a: *nowhere\n', /^sim\.yaml:\d+:\d+: .*nowhere/],
  [
    'resource: example.com/gpu\ncount: 2\ntimeline:\n  - at: 3\n',
    /^sim\.yaml:4:9: timeline\[0\]\.at: 3 is not a duration/,
  ],
  [
    'resource: example.com/gpu\ncount: 2\ntimeline:\n  - at: 3s\n    health: { gpu-2: Unhealthy }\n',
    /^sim\.yaml:5:22: timeline\[0\]\.health\.gpu-2: there is no device "gpu-2"$/,
  ],
  [
    'resource: example.com/gpu\ncount: 2\ntimeline:\n  - at: 3s\n    hang: list\n',
    /^sim\.yaml:5:11: timeline\[0\]\.hang: expected one or a list of options, allocate/,
  ],
  ...(
    [
      ['flap: { devices: [gpu-7], every: 1s }', '5:23: timeline[0].flap.devices[0]: there is no device "gpu-7"'],
      ['flap: { devices: [gpu-1], every: 1ms }', '5:38: timeline[0].flap.every: must be at least 10ms'],
      ['flood: { perSecond: 5000 }', '5:25: timeline[0].flood.perSecond: Too big'],
      ['lie: never', '5:10: timeline[0].lie: expected true, or one or a list of allocate'],
      ['oversize: 5G', '5:15: timeline[0].oversize: "5G" is not a size like 500K or 5M'],
      ['die: soon', '5:10: timeline[0].die: expected true, or a duration like 3s'],
      ['restart: { idPrefix: "" }', '5:26: timeline[0].restart.idPrefix: Too small'],
      ['health: { new-0: Unhealthy }', '5:22: timeline[0].health.new-0: there is no device "new-0"'],
    ] as const
  ).map(
    ([step, message]) =>
      [
        `resource: example.com/gpu\ncount: 2\ntimeline:\n  - at: 3s\n    ${step}\n`,
        new RegExp(`^sim\\.yaml:${message.replaceAll(/[[\].{}]/g, '\\$&')}`),
      ] as [string, RegExp],
  ),
  [
    'resource: example.com/gpu\ncount: 1\ncdi: [nonsense]\n',
    /^sim\.yaml:3:7: cdi\[0\]: .*"nonsense" is not a qualified/,
  ],
  [
    'resource: example.com/gpu\ncount: 1\nmounts: [{ hostPath: x }]\n',
    /^sim\.yaml:3:22: mounts\[0\]\.hostPath: expected an abs/,
  ],
  [
    'resources:\n  - { resource: example.com/a, count: 1 }\n  - { resource: example.com/a, count: 1 }\n',
    /^sim\.yaml:3:17: resources\[1\]\.resource: example\.com\/a is there twice$/,
  ],
  ['resource: example.com/gpu\ncount: 1\n---\nresource: b\n', /^sim\.yaml:\d+:\d+: .*multiple documents/],
  ['{"resource": "example.com/gpu", "count": 99999999}', /^sim\.yaml:1:42: count: /],
])('%j is refused with its place', (text, message) => {
  expect(errorOf(text)).toMatch(message);
});

test('of many mistakes the first are told and the rest counted', () => {
  const text = 'resource: x\ncount: -1\nidPrefix: 3\npreStart: 4\nenv: 5\n';
  expect(errorOf(text)).toMatch(/^sim\.yaml:1:11: .*; sim\.yaml:2:8: .*; sim\.yaml:3:11: .* \(and 2 more\)$/);
});
