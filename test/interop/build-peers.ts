import { existsSync, rmSync } from 'node:fs';
import type { TestProject } from 'vitest/node';
import { PEER_NAMES, buildPeer, type Peer } from './peers.ts';

/** What Kubernetes' sample plugin makes in Allocate, and leaves there. */
const LEFT_BEHIND = ['/tmp/Dev-1', '/tmp/Dev-2'].filter((path) => !existsSync(path));

/** Builds every peer once before the interoperability tests, one after the other: compilers use all cores. */
export async function setup(project: TestProject): Promise<void> {
  const peers: Record<string, Peer> = {};
  for (const name of PEER_NAMES) {
    const startedAt = performance.now();
    const peer = await buildPeer(name);
    peers[name] = peer;
    const took = `${String(Math.round((performance.now() - startedAt) / 1000))} s`;
    console.log('skipped' in peer ? `interop: SKIPPED ${peer.skipped}` : `interop: built ${name} (${took})`);
  }
  project.provide('peers', peers);
}

/** Removes what a peer left. */
export function teardown(): void {
  for (const path of LEFT_BEHIND) rmSync(path, { recursive: true, force: true });
}

declare module 'vitest' {
  interface ProvidedContext {
    peers: Record<string, Peer>;
  }
}
