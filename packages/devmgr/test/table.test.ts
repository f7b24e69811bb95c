import { expect, test } from 'vitest';
import { ageOf, humanDuration } from '../src/output/age.ts';
import {
  DEVICE_COLUMNS,
  EVENT_COLUMNS,
  NODE_COLUMNS,
  PLUGIN_COLUMNS,
  RESOURCE_COLUMNS,
} from '../src/output/columns.ts';
import { Description } from '../src/output/description.ts';
import { formatTable } from '../src/output/table.ts';

const nowMs = Date.parse('2026-01-01T01:00:00Z');

test('tables have upper-case headers and columns three blanks apart, as kubectl does', () => {
  const rows = [
    {
      name: 'example.com/gpu',
      capacity: 8,
      allocatable: 7,
      allocated: 2,
      healthy: 7,
      unhealthy: 1,
      plugin: { endpoint: 'gpu.sock', state: 'Connected' as const, since: '2026-01-01T00:54:57Z' },
    },
    { name: 'a.b/c', capacity: 0, allocatable: 0, allocated: 0, healthy: 0, unhealthy: 0, plugin: null },
  ];
  expect(formatTable(RESOURCE_COLUMNS, rows, { nowMs })).toMatchInlineSnapshot(`
    "NAME              CAPACITY   ALLOCATABLE   ALLOCATED   UNHEALTHY   PLUGIN
    example.com/gpu   8          7             2           1           Connected
    a.b/c             0          0             0           0           <none>
    "
  `);
  expect(formatTable(RESOURCE_COLUMNS, rows, { nowMs, wide: true })).toMatchInlineSnapshot(`
    "NAME              CAPACITY   ALLOCATABLE   ALLOCATED   UNHEALTHY   PLUGIN      ENDPOINT   SINCE
    example.com/gpu   8          7             2           1           Connected   gpu.sock   5m3s
    a.b/c             0          0             0           0           <none>      <none>     <unknown>
    "
  `);
  expect(formatTable(RESOURCE_COLUMNS, rows, { nowMs, headers: false })).toMatchInlineSnapshot(`
    "example.com/gpu   8     7     2     1     Connected
    a.b/c             0     0     0     0     <none>
    "
  `);
});

test('devices, plugins, nodes and events have their tables', () => {
  const since = '2026-01-01T00:59:30Z';
  const devices = [
    {
      resource: 'example.com/gpu',
      id: 'gpu-0',
      health: 'Healthy',
      numaNodes: [0],
      state: 'Allocated' as const,
      pod: 'default/web',
      container: 'main',
      since,
    },
    {
      resource: 'example.com/gpu',
      id: 'gpu-1',
      health: '',
      numaNodes: [0, 1],
      state: 'Free' as const,
      pod: null,
      container: null,
      since,
    },
  ];
  expect(formatTable(DEVICE_COLUMNS, devices, { nowMs, wide: true })).toMatchInlineSnapshot(`
    "RESOURCE          ID      HEALTH    NUMA   STATE       POD           AGE   CONTAINER
    example.com/gpu   gpu-0   Healthy   0      Allocated   default/web   30s   main
    example.com/gpu   gpu-1   <none>    0,1    Free        <none>        30s   <none>
    "
  `);
  const plugins = [
    {
      name: 'example.com/gpu@gpu.sock',
      resource: 'example.com/gpu',
      endpoint: 'gpu.sock',
      state: 'Disconnected' as const,
      origin: 'register' as const,
      preStartRequired: false,
      preferredAllocation: true,
      devices: 8,
      since,
      message: 'stream\nended',
    },
  ];
  expect(formatTable(PLUGIN_COLUMNS, plugins, { nowMs, wide: true })).toMatchInlineSnapshot(`
    "NAME                       STATE          DEVICES   AGE   ORIGIN     PREFERENCE   PRESTART   MESSAGE
    example.com/gpu@gpu.sock   Disconnected   8         30s   register   yes          no         stream ended
    "
  `);
  const node = {
    apiVersion: 'v1' as const,
    kind: 'Node' as const,
    metadata: { name: 'box', creationTimestamp: '2025-12-30T01:00:00Z' },
    status: {
      capacity: { 'example.com/gpu': '8', cpu: '2' },
      allocatable: { 'example.com/gpu': '7', cpu: '2' },
      conditions: [{ type: 'Ready', status: 'True' as const, lastTransitionTime: since }],
      nodeInfo: { kubeletVersion: 'devmgr/0.1.0' },
    },
  };
  expect(formatTable(NODE_COLUMNS, [node], { nowMs, wide: true })).toMatchInlineSnapshot(`
    "NAME   STATUS   AGE   VERSION        ALLOCATABLE
    box    Ready    2d    devmgr/0.1.0   example.com/gpu=7/8
    "
  `);
  const event = {
    apiVersion: 'v1' as const,
    kind: 'Event' as const,
    metadata: { name: 'web.1' },
    involvedObject: { kind: 'Pod', name: 'web' },
    reason: 'Started',
    message: 'container main \u001b[31mstarted',
    type: 'Normal' as const,
    count: 3,
    firstTimestamp: since,
    lastTimestamp: since,
    source: { component: 'devmgr' },
  };
  expect(formatTable(EVENT_COLUMNS, [event], { nowMs })).toMatchInlineSnapshot(`
    "LAST SEEN   TYPE     REASON    OBJECT    MESSAGE
    30s         Normal   Started   pod/web   container main  [31mstarted
    "
  `);
});

test('no cell can break a line or send an escape sequence to the terminal', () => {
  const columns = [{ header: 'A', cell: (row: string) => row }];
  const text = formatTable(columns, ['x\r\n\u001b[2Jy\u009b1m'], { nowMs });
  expect(text).toBe('A\nx [2Jy 1m\n');
});

test.each([
  [-5_000, '<invalid>'],
  [-500, '0s'],
  [0, '0s'],
  [119_999, '119s'],
  [120_000, '2m'],
  [303_000, '5m3s'],
  [600_000, '10m'],
  [3 * 3_600_000 - 1, '179m'],
  [3 * 3_600_000, '3h'],
  [3 * 3_600_000 + 300_000, '3h5m'],
  [8 * 3_600_000 + 300_000, '8h'],
  [48 * 3_600_000, '2d'],
  [52 * 3_600_000, '2d4h'],
  [8 * 86_400_000 + 3_600_000, '8d'],
  [729 * 86_400_000, '729d'],
  [750 * 86_400_000, '2y20d'],
  [3_650 * 86_400_000, '10y'],
])('%i ms is %s old', (durationMs, text) => {
  expect(humanDuration(durationMs)).toBe(text);
});

test('an age that is not known is said to be unknown', () => {
  expect(ageOf(undefined, nowMs)).toBe('<unknown>');
  expect(ageOf('yesterday', nowMs)).toBe('<unknown>');
});

test('a description aligns its values and indents its sections', () => {
  const description = new Description()
    .field('Name', 'gpu-pair')
    .field('Reason', undefined)
    .list('Labels', ['a=b', 'c=d'])
    .section('Containers')
    .section('main', 1)
    .field('Restart Count', 0, 2)
    .section('Events')
    .table([
      ['Type', 'Message'],
      ['Warning', 'two\nlines'],
    ]);
  expect(description.toString()).toMatchInlineSnapshot(`
    "Name:               gpu-pair
    Reason:             <none>
    Labels:             a=b
                        c=d
    Containers:
      main:
        Restart Count:  0
    Events:
      Type      Message
      ----      -------
      Warning   two lines
    "
  `);
});
