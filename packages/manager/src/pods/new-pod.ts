/** From a manifest to a pod as it is kept. */
import { randomInt, randomUUID } from 'node:crypto';
import { checkPod, DevmgrError, invalidObjectMessage, type Pod } from '@devmgr/core';
import { LEASE_ANNOTATION, timestamp } from './pod-services.ts';
import { firstStatus } from './pod-status.ts';

/** Kubernetes' alphabet for generated names: no vowels, nothing that looks like something else. */
const NAME_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';

/** Five characters that tell names with the same beginning apart. */
export function randomSuffix(): string {
  return Array.from({ length: 5 }, () => NAME_ALPHABET[randomInt(NAME_ALPHABET.length)]).join('');
}

export interface NewPodOptions {
  /** From the address of the request; a manifest may repeat it, not contradict it. */
  readonly namespace: string;
  readonly nodeName: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly allowLease?: boolean;
}

/**
 * Checks a manifest and completes it as the API server does: namespace, uid, time of creation, a generated name, the
 * defaults that devmgr relies on; what the client says about the status is dropped. The manifest is not changed. Throws
 * MANIFEST_INVALID or BAD_REQUEST.
 */
export function newPod(manifest: unknown, options: NewPodOptions): Pod {
  const checked = checkPod(withGeneratedName(manifest));
  if (!checked.ok) {
    throw new DevmgrError('MANIFEST_INVALID', invalidObjectMessage('Pod', nameOf(manifest), checked.errors));
  }
  // A copy: the caller's object may change under us, and its parts must not be shared.
  const pod = structuredClone(checked.pod);
  const { namespace, nodeName } = options;
  const given = pod.metadata.namespace;
  if (given !== undefined && given !== '' && given !== namespace) {
    throw new DevmgrError(
      'BAD_REQUEST',
      `the namespace of the provided object does not match the namespace sent on the request: "${given}" and "${namespace}"`,
    );
  }
  if (pod.metadata.annotations?.[LEASE_ANNOTATION] !== undefined && options.allowLease !== true) {
    const error = {
      path: `metadata.annotations[${LEASE_ANNOTATION}]`,
      message: 'Forbidden: is set by the manager only',
    };
    throw new DevmgrError('MANIFEST_INVALID', invalidObjectMessage('Pod', pod.metadata.name, [error]));
  }
  const creationTimestamp = timestamp(options.now);
  const { metadata } = pod;
  delete metadata.deletionTimestamp;
  delete metadata.deletionGracePeriodSeconds;
  const complete: Pod = {
    ...pod,
    metadata: { ...metadata, namespace, uid: randomUUID(), creationTimestamp },
    spec: {
      ...pod.spec,
      restartPolicy: pod.spec.restartPolicy ?? 'Always',
      terminationGracePeriodSeconds: pod.spec.terminationGracePeriodSeconds ?? 30,
      nodeName,
    },
  };
  return { ...complete, status: firstStatus(complete, creationTimestamp) };
}

function withGeneratedName(manifest: unknown): unknown {
  if (!isObject(manifest) || !isObject(manifest['metadata'])) return manifest;
  const { name, generateName } = manifest['metadata'];
  const needsName = (name === undefined || name === null || name === '') && typeof generateName === 'string';
  if (!needsName || generateName === '') return manifest;
  return { ...manifest, metadata: { ...manifest['metadata'], name: `${generateName}${randomSuffix()}` } };
}

function nameOf(manifest: unknown): string {
  const metadata = isObject(manifest) ? manifest['metadata'] : undefined;
  const name = isObject(metadata) ? metadata['name'] : undefined;
  return typeof name === 'string' ? name : '';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
