import type { TopologySettings } from '../protocol.ts';

/** What a topology manager refuses to start with. */
export const WRONG_MACHINES: readonly [TopologySettings, ...TopologySettings[]] = [
  { policy: 'strict' },
  { policy: 'Restricted', scope: 'container' },
  { policy: 'restricted', scope: 'node' },
  { policy: 'best-effort', options: { 'prefer-nothing': 'true' } },
  { policy: 'restricted', options: { 'prefer-closest-numa-nodes': 'yes' } },
  { policy: 'restricted', options: { 'prefer-closest-numa-nodes': 'true' } },
  { policy: 'restricted', options: { 'max-allowable-numa-nodes': '7' } },
  { policy: 'restricted', options: { 'max-allowable-numa-nodes': 'many' } },
  { policy: 'restricted', options: { 'max-allowable-numa-nodes': '' } },
  { policy: 'single-numa-node', numa: [0, 1, 2, 3, 4, 5, 6, 7, 8] },
  { policy: 'single-numa-node', numa: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], options: { 'max-allowable-numa-nodes': '9' } },
];

/** Names no resource may have. */
export const WRONG_NAMES = [
  'no-domain',
  'kubernetes.io/gpu',
  'sub.kubernetes.io/gpu',
  'requests.example.com/gpu',
  'Example.com/gpu',
  'example.com/',
  'example.com/a b',
  '',
  'example.com/"quoted"',
] as const;
