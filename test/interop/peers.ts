/**
 * Builds the device plugins of other languages, and an agent, into `test/interop/.build`, with whatever toolchains the
 * machine has. A peer that cannot be built is a reason to skip its tests aloud, never a silent pass.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const PLUGINS = fileURLToPath(new URL('./plugins', import.meta.url));
/** The kubelet's device manager, behind JSON lines, is in `kubelet`. */
const ORACLE = fileURLToPath(new URL('../oracle', import.meta.url));
const BUILD = fileURLToPath(new URL('./.build', import.meta.url));
const BIN = join(BUILD, 'bin');

/** A peer that can be started: argument vector and extra environment. */
export interface BuiltPeer {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}
/** Or why there is none. */
export type Peer = BuiltPeer | { readonly skipped: string };

const INTEL = 'github.com/intel/intel-device-plugins-for-kubernetes/cmd';
/** Peers in Go: the folder of their module below `plugins`, and what is built there. */
const GO_PEERS = {
  'k8s-sample': ['k8s-sample', 'k8s.io/kubernetes/test/images/sample-device-plugin'],
  'intel-npu': ['intel', `${INTEL}/npu_plugin`],
  'intel-gpu': ['intel', `${INTEL}/gpu_plugin`],
  'intel-sgx': ['intel', `${INTEL}/sgx_plugin`],
  'intel-gpu-0.20': ['intel-0.20', `${INTEL}/gpu_plugin`],
  dpm: ['dpm', '.'],
  rdma: ['rdma', '.'],
  'podresources-client': ['podresources-client', '.'],
  'cdi-check': ['cdi-check', '.'],
} as const;
type GoPeerName = keyof typeof GO_PEERS;

export type PeerName = GoPeerName | 'kubelet' | 'python' | 'rust';
export const PEER_NAMES: readonly PeerName[] = [
  ...(Object.keys(GO_PEERS) as GoPeerName[]),
  'kubelet',
  'python',
  'rust',
];

/** Builds one peer; quick when it is built already. */
export async function buildPeer(name: PeerName): Promise<Peer> {
  mkdirSync(BIN, { recursive: true });
  try {
    if (name === 'kubelet') return await kubeletPeer();
    if (name === 'python') return await pythonPeer();
    if (name === 'rust') return await rustPeer();
    const [folder, target] = GO_PEERS[name];
    return await goPeer(name, folder, target);
  } catch (error) {
    const stderr = (error as { stderr?: unknown }).stderr;
    const why =
      typeof stderr === 'string' && stderr !== '' ? stderr.trim().split('\n').slice(-3).join(' | ') : String(error);
    return { skipped: `${name} could not be built: ${why}` };
  }
}

async function has(tool: string): Promise<boolean> {
  return run(tool, [tool === 'go' ? 'version' : '--version']).then(
    () => true,
    () => false,
  );
}

async function goPeer(binary: string, folder: string, target: string): Promise<Peer> {
  if (!(await has('go'))) return { skipped: `${binary}: needs Go, which is not installed` };
  const path = join(BIN, binary);
  await run('go', ['build', '-trimpath', '-ldflags', '-s -w', '-o', path, target], {
    cwd: join(PLUGINS, folder),
    env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=mod -buildvcs=false' },
    maxBuffer: 64 * 1024 * 1024,
  });
  return { command: [path], env: {} };
}

/** Built as `npm run build:oracle` builds it, so that neither has to wait when the other was there. */
async function kubeletPeer(): Promise<Peer> {
  if (!(await has('go'))) return { skipped: 'kubelet: needs Go, which is not installed' };
  const path = join(ORACLE, '.build', 'kubelet-oracle');
  await run('go', ['build', '-o', path, '.'], { cwd: join(ORACLE, 'kubelet'), maxBuffer: 64 * 1024 * 1024 });
  return { command: [path], env: {} };
}

async function pythonPeer(): Promise<Peer> {
  if (!(await has('python3'))) return { skipped: 'python: needs Python 3, which is not installed' };
  const venv = join(BUILD, 'venv');
  const python = join(venv, 'bin', 'python');
  if (!existsSync(join(venv, 'ready'))) {
    await run('python3', ['-m', 'venv', '--clear', venv]);
    await run(python, ['-m', 'pip', 'install', '--quiet', 'grpcio==1.85.1', 'grpcio-tools==1.85.1'], {
      maxBuffer: 64 * 1024 * 1024,
    });
    await run('touch', [join(venv, 'ready')]);
  }
  const generated = join(BUILD, 'python');
  mkdirSync(generated, { recursive: true });
  const protos = fileURLToPath(new URL('../../proto', import.meta.url));
  const source = join(protos, 'deviceplugin', 'v1beta1');
  await run(python, [
    '-m',
    'grpc_tools.protoc',
    `-I${source}`,
    `--python_out=${generated}`,
    `--grpc_python_out=${generated}`,
    join(source, 'deviceplugin.proto'),
  ]);
  return { command: [python, join(PLUGINS, 'python', 'plugin.py')], env: { PYTHONPATH: generated } };
}

async function rustPeer(): Promise<Peer> {
  if (process.env['INTEROP_RUST'] !== '1') return { skipped: 'rust: eight minutes to build, only with INTEROP_RUST=1' };
  if (!(await has('cargo'))) return { skipped: 'rust: needs cargo, which is not installed' };
  const target = join(BUILD, 'rust');
  await run('cargo', ['build', '--quiet', '--release', '--ignore-rust-version', '--target-dir', target], {
    cwd: join(PLUGINS, 'rust'),
    maxBuffer: 64 * 1024 * 1024,
  });
  return { command: [join(target, 'release', 'rustplugin')], env: { RUST_LOG: 'info' } };
}
