export { describeDevice } from './device.ts';
export { describeNode } from './node.ts';
export { describePlugin } from './plugin.ts';
export { describePod } from './pod.ts';
export { describeRelease } from './release.ts';
export { describeResource } from './resource.ts';
