import type { PeerName } from './peers.ts';

/** A defect, or what the suite takes for one, in a plugin of somebody else's. */
export interface Finding {
  /** What the failing check has to say, somewhere in its message or its evidence. */
  readonly says?: RegExp;
  /** What is behind it, as far as it is known. */
  readonly note: string;
}

/** A third-party plugin and the verdict that `devmgr test` gives on it. */
export interface Subject {
  readonly name: string;
  readonly title: string;
  readonly project: string;
  /** Language and gRPC implementation. */
  readonly speaks: string;
  /** What of it is not the project's own. */
  readonly ours?: string;
  readonly peer: PeerName;
  /** What `place.sh` prepares for it; undefined when it is run as it is. */
  readonly place?: string;
  /** Device nodes of its own and a `/sys` need root. */
  readonly needsRoot?: true;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Checks of level `full` that are made beside the quick ones. */
  readonly full: readonly string[];
  /** Failures and warnings that every run has, by check. */
  readonly expected: Readonly<Record<string, Finding>>;
  /** Those that are a matter of luck. */
  readonly may: Readonly<Record<string, Finding>>;
}

const UNOFFERED = ['compatibility/unoffered-preference', 'compatibility/unoffered-pre-start'];
const LATE_MANAGER = ['registration/finds-late-manager', 'registration/late-manager-once'];
const NOT_SEEN: Finding = {
  says: /missing: /,
  note: 'It only waits for its own socket to vanish, so that a manager that deletes nothing goes unnoticed for ever.',
};
const RAW_PATH: Finding = {
  says: /"\/var\/lib\/kubelet\/device-plugins\/kubelet\.sock"/,
  note: 'Old versions of grpc-go send the path of the socket as it is. Go servers take it; strict HTTP/2 servers (Node’s among them) refuse the call.',
};
const LIBRARY =
  'It is a library: the devices and the answers are of a small main of ours; the server, the registration and the restarts are the library’s.';

const INTEL = 'https://github.com/intel/intel-device-plugins-for-kubernetes';
const PANIC: Finding = {
  says: /panic: send on closed channel/,
  note: 'The handler of the old ListAndWatch never looks at its context and stays a reader of the update channel. It takes the next update, fails to send it, and stops the server, which closes the channel; the update after that is sent on a closed channel (`pkg/deviceplugin`, `(*server).Update`). Since unchanged lists are sent again every five seconds, the plugin is gone ten seconds after each restart of a kubelet, and only its DaemonSet hides it.',
};
const NO_HANDLER: Finding = { note: 'It does not handle SIGTERM: the default action ends it.' };

const RDMA = 'https://github.com/Mellanox/k8s-rdma-shared-dev-plugin';
const RDMA_OURS = 'It runs under a main of ours that leaves out one check of the kernel and is else its own.';
const NIL_ANSWER: Finding = {
  says: /grpc\.encode/,
  note: '`GetPreferredAllocation` returns neither an answer nor an error, and the gRPC library dereferences the missing answer. No kubelet makes the call unless it is offered; anything else that can reach the socket ends the plugin with one call.',
};
const EARLY_SIGTERM: Finding = {
  note: 'It asks for signals only after it has registered: a SIGTERM that comes in between ends it as it is.',
};
const ANY_ID: Finding = { note: '`Allocate` does not look at the ids: every id gets the same nodes.' };

export const SUBJECTS: readonly Subject[] = [
  {
    name: 'dpm',
    title: 'kubevirt/device-plugin-manager v1.19.5',
    project: 'https://github.com/kubevirt/device-plugin-manager',
    speaks: 'Go, grpc-go 1.32',
    ours: LIBRARY,
    peer: 'dpm',
    place: 'plain',
    args: ['-logtostderr'],
    full: [...UNOFFERED, ...LATE_MANAGER, 'manners/descriptors'],
    expected: {
      'registration/late-manager-once': {
        says: /alpha: \d+ ms, \d+ ms/,
        note: 'The manager of the library keeps its plugins by value (`map[string]devicePlugin`): that one is running is noted on a copy and forgotten, and both the retry of the start and the event of kubelet.sock register it.',
      },
      'manners/descriptors': {
        says: /\d+ before, \d+ after/,
        note: 'The same copies: the old gRPC server is not known any more when the kubelet comes back, is never stopped, and keeps its listener and its connections.',
      },
      'manners/removes-its-socket': { note: 'The same copies: at the end there is no server to stop.' },
      'compatibility/authority': RAW_PATH,
    },
    may: {},
  },
  {
    name: 'k8s-sample',
    title: "Kubernetes' sample device plugin v1.37.2",
    project: 'https://github.com/kubernetes/kubernetes/tree/v1.37.2/test/images/sample-device-plugin',
    speaks: 'Go, grpc-go 1.82',
    peer: 'k8s-sample',
    place: 'tmp',
    args: [],
    env: { CDI_ENABLED: '1' },
    full: [...UNOFFERED, ...LATE_MANAGER],
    expected: {
      'registration/finds-late-manager': {
        says: /panic: /,
        note: 'It binds its socket before there is a kubelet, whose start deletes it; the kubelet cannot dial back, and the plugin panics when Register fails.',
      },
    },
    may: {
      'manners/last-words': {
        says: /\d+ lines/,
        note: 'When it ends, its Watch loop spins over the closed channels of the file watcher and logs `inotify error` until the process is gone: from 2 to more than 10,000 lines, a matter of luck.',
      },
    },
  },
  {
    name: 'intel-gpu',
    title: "Intel's GPU plugin v0.36.0",
    project: INTEL,
    speaks: 'Go, grpc-go 1.81',
    peer: 'intel-gpu',
    place: 'cards',
    args: [
      ...['-prefix', '/run/fake', '-shared-dev-num', '2', '-allocation-policy', 'packed', '-enable-monitoring'],
      ...['-v', '1'],
    ],
    full: UNOFFERED,
    expected: {
      'preferred/must-include': {
        says: /included: without card\d-\d/,
        note: 'Its policies choose among the available ids and never look at those that must be included, which are only logged.',
      },
      'restart/stays-alive': PANIC,
      'restart/kubelet-sock-made-anew': NOT_SEEN,
      'manners/removes-its-socket': NO_HANDLER,
    },
    may: {},
  },
  {
    name: 'intel-npu',
    title: "Intel's NPU plugin v0.36.0",
    project: INTEL,
    speaks: 'Go, grpc-go 1.81',
    peer: 'intel-npu',
    place: 'accelerators',
    args: ['-prefix', '/run/fake', '-shared-dev-num', '2', '-v', '1'],
    full: UNOFFERED,
    expected: {
      'restart/stays-alive': PANIC,
      'restart/kubelet-sock-made-anew': NOT_SEEN,
      'manners/removes-its-socket': NO_HANDLER,
    },
    may: {},
  },
  {
    name: 'intel-sgx',
    title: "Intel's SGX plugin v0.36.0",
    project: INTEL,
    speaks: 'Go, grpc-go 1.81',
    peer: 'intel-sgx',
    place: 'sgx',
    needsRoot: true,
    args: ['-enclave-limit', '3', '-provision-limit', '2', '-v', '1'],
    full: UNOFFERED,
    expected: { 'restart/kubelet-sock-made-anew': NOT_SEEN, 'manners/removes-its-socket': NO_HANDLER },
    may: {},
  },
  {
    name: 'intel-gpu-0.20',
    title: "Intel's GPU plugin v0.20.0, of 2021",
    project: INTEL,
    speaks: 'Go, grpc-go 1.27',
    peer: 'intel-gpu-0.20',
    place: 'cards-in-sys',
    needsRoot: true,
    args: ['-shared-dev-num', '2', '-v', '1'],
    full: UNOFFERED,
    expected: {
      'restart/kubelet-sock-made-anew': NOT_SEEN,
      'manners/removes-its-socket': NO_HANDLER,
      'compatibility/authority': RAW_PATH,
    },
    may: {},
  },
  {
    name: 'rdma',
    title: 'Mellanox k8s-rdma-shared-dev-plugin v1.5.3',
    project: RDMA,
    speaks: 'Go, grpc-go 1.56',
    ours: RDMA_OURS,
    peer: 'rdma',
    place: 'rdma-without-registry',
    needsRoot: true,
    args: ['-config-file', '/run/rdma.json'],
    full: UNOFFERED,
    expected: {
      'allocation/unknown-id': ANY_ID,
      'restart/kubelet-sock-made-anew': NOT_SEEN,
      'compatibility/unoffered-preference': NIL_ANSWER,
    },
    may: {
      'manners/ends-promptly': {
        note: 'It stops one resource after the other, and each waits for a loop that sleeps five seconds.',
      },
      'manners/removes-its-socket': EARLY_SIGTERM,
    },
  },
  {
    name: 'rdma-registry',
    title: 'The same, found in plugins_registry, with CDI',
    project: RDMA,
    speaks: 'Go, grpc-go 1.56',
    ours: RDMA_OURS,
    peer: 'rdma',
    place: 'rdma',
    needsRoot: true,
    args: ['-config-file', '/run/rdma.json', '-use-cdi'],
    full: UNOFFERED,
    expected: {
      'allocation/unknown-id': ANY_ID,
      'allocation/cdi-spec-valid': {
        says: /nvidia\.com_hca_none\.yaml: it has no devices/,
        note: 'A resource for which no hardware is found gets a spec file without devices all the same, and every runtime on the node complains about it.',
      },
      'compatibility/unoffered-preference': NIL_ANSWER,
    },
    may: { 'manners/removes-its-socket': EARLY_SIGTERM },
  },
  {
    name: 'rust',
    title: 'The Rust crate k8s-device-plugin-lib 0.2.0',
    project: 'https://crates.io/crates/k8s-device-plugin-lib',
    speaks: 'Rust, tonic 0.14',
    ours: LIBRARY,
    peer: 'rust',
    place: 'plain',
    args: [],
    full: [...UNOFFERED, ...LATE_MANAGER],
    expected: {
      'restart/reachable-again': {
        says: /was missing when Register came/,
        note: 'It sees the end of the stream and registers again, but never binds its socket anew, which the kubelet has deleted: it is not usable again until it is restarted.',
      },
      'registration/finds-late-manager': {
        note: 'It keeps the socket that it made when it was started, which a starting kubelet deletes, and never makes it anew.',
      },
      'restart/kubelet-sock-made-anew': { says: /missing: /, note: 'It registers again only when its stream ends.' },
      'manners/no-other-files': { says: /\.lock/, note: 'It puts a lock file beside its socket.' },
      'manners/removes-its-socket': NO_HANDLER,
    },
    may: {},
  },
  {
    name: 'python',
    title: 'A plugin of ours on Python’s grpcio 1.85',
    project: 'https://pypi.org/project/grpcio/',
    speaks: 'Python, the C core of gRPC',
    ours: 'All of it but gRPC is ours; it is here for how the C core dials.',
    peer: 'python',
    args: [],
    full: UNOFFERED,
    expected: {},
    may: {},
  },
];
