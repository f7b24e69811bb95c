/** For those who run device plugins they did not write: beside a kubelet that is not there, and never longer than the runner. */
export { KUBELET_ROOT_DIR, withKubeletView } from './kubelet-view.ts';
export { ProcessGroup } from './process-group.ts';
export type { GroupEnd, StdioItem } from './process-group.ts';
