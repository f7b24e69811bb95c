import { DevmgrError, type Pod } from '@devmgr/core';
import type { ApiClient } from '@devmgr/manager';
import { isPodFinished } from './output/pod-status.ts';

/** How soon it is noticed that a pod went away before its watch had begun. */
const RECHECK_INTERVAL_MS = 1_000;

/** What to wait for. `uid` says which pod of that name: another one in its place means the first is gone. */
export type PodCondition =
  | { readonly type: 'running' | 'ready' | 'succeeded' | 'failed' | 'finished' }
  | { readonly type: 'deleted'; readonly uid?: string };

/**
 * Resolves once the pod is as `condition` says (with the pod, or undefined when it is gone). `running` counts a pod that
 * ran and completed too: it cannot be missed. Rejects with POD_REJECTED or CONFLICT as soon as it can never come to that,
 * DEADLINE_EXCEEDED after `timeoutMs`, NOT_FOUND when there is no such pod.
 */
export async function waitForPod(
  manager: ApiClient,
  namespace: string,
  name: string,
  options: {
    condition: PodCondition;
    timeoutMs: number | undefined;
    signal?: AbortSignal;
    onChange?: (pod: Pod) => void;
  },
): Promise<Pod | undefined> {
  const { condition, timeoutMs, onChange } = options;
  const deadline = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
  const stop = new AbortController();
  const vanished = (): Pod | undefined => {
    if (condition.type === 'deleted') return undefined;
    throw new DevmgrError('CONFLICT', `pod "${name}" was deleted while it was waited for`, {
      remedy: 'Apply it again.',
    });
  };
  let last = await findPod(manager, namespace, name, condition);
  if (last === undefined || judge(last, condition)) return last;
  // A watch begins with what is there. A pod that went away before it began is never spoken of: look once more.
  let spokenOf = false;
  const gone = new AbortController();
  const signals = [stop.signal, gone.signal, deadline, options.signal].filter((signal) => signal !== undefined);
  const recheck = setInterval(() => {
    void isGone(manager, namespace, name).then((answer) => {
      if (!answer || spokenOf) return;
      gone.abort();
    });
  }, RECHECK_INTERVAL_MS);
  try {
    for await (const event of manager.watchPods(namespace, AbortSignal.any(signals))) {
      if (event.object.metadata.name !== name) continue;
      spokenOf = true;
      clearInterval(recheck);
      last = event.object;
      onChange?.(last);
      if (event.type === 'DELETED') return vanished();
      if (judge(last, condition)) return last;
    }
  } catch (error) {
    if (deadline?.aborted !== true && !gone.signal.aborted) throw error;
  } finally {
    clearInterval(recheck);
    stop.abort();
  }
  if (gone.signal.aborted) return vanished();
  if (deadline?.aborted === true) {
    throw new DevmgrError(
      'DEADLINE_EXCEEDED',
      `timed out waiting for pod "${name}" to be ${condition.type}${stateOf(last)}`,
    );
  }
  throw new DevmgrError('MANAGER_UNREACHABLE', 'the manager went away while it was asked to tell about changes', {
    remedy: 'Look whether it still runs, and wait again.',
  });
}

async function isGone(manager: ApiClient, namespace: string, name: string): Promise<boolean> {
  try {
    await manager.getPod(namespace, name);
    return false;
  } catch (error) {
    return error instanceof DevmgrError && error.code === 'NOT_FOUND';
  }
}

async function findPod(
  manager: ApiClient,
  namespace: string,
  name: string,
  condition: PodCondition,
): Promise<Pod | undefined> {
  try {
    return await manager.getPod(namespace, name);
  } catch (error) {
    if (condition.type === 'deleted' && error instanceof DevmgrError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

/** True when the condition holds; throws when it never can. */
function judge(pod: Pod, condition: PodCondition): boolean {
  const phase = pod.status?.phase;
  switch (condition.type) {
    case 'deleted':
      return condition.uid !== undefined && condition.uid !== '' && pod.metadata.uid !== condition.uid;
    case 'finished':
      return isPodFinished(pod);
    case 'failed':
      if (phase === 'Succeeded') throw ended(pod);
      return phase === 'Failed';
    case 'succeeded':
      if (phase === 'Failed') throw ended(pod);
      return phase === 'Succeeded';
    case 'running':
      if (phase === 'Failed') throw ended(pod);
      return phase === 'Running' || phase === 'Succeeded';
    case 'ready':
      if (isPodFinished(pod)) throw ended(pod);
      return pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
  }
}

function ended(pod: Pod): DevmgrError {
  const { name, namespace = 'default' } = pod.metadata;
  const { phase = 'Unknown', reason, message } = pod.status ?? {};
  const why = [reason, message].filter((text) => text !== undefined && text !== '').join(': ');
  const text = `pod "${name}" has ${phase === 'Failed' ? 'failed' : 'come to its end'}${why === '' ? '' : `: ${why}`}`;
  // Admission is the only one that ends a pod with a reason before any container ran.
  const refused =
    phase === 'Failed' && reason !== undefined && (pod.status?.containerStatuses ?? []).every(neverStarted);
  return new DevmgrError(refused ? 'POD_REJECTED' : 'CONFLICT', text, {
    remedy: refused
      ? `Ask why with "devmgr explain ${namespace}/${name}".`
      : `See "devmgr describe pod ${name}" and "devmgr logs ${name}".`,
  });
}

function neverStarted(status: { state: { terminated?: { startedAt?: string } | undefined } }): boolean {
  return status.state.terminated?.startedAt === undefined;
}

function stateOf(pod: Pod | undefined): string {
  if (pod?.status === undefined) return '';
  const because = pod.status.conditions?.find(({ status, message }) => status === 'False' && message)?.message;
  return `; it is ${pod.status.phase}${because === undefined ? '' : `: ${because}`}`;
}
