/** Texts the kubelet and the API server are known by, word for word, so that what people search for is found. */
import { goQuote } from './go-text.ts';

/** File name, and key, of the checkpoint. (kubelet: device manager) */
export const CHECKPOINT_KEY = 'kubelet_internal_checkpoint';

/** kubelet: checkpoint manager, key without a file. */
export const CHECKPOINT_NOT_FOUND = 'checkpoint is not found';

/** kubelet: checkpoint manager, checksum differs. */
export const CHECKPOINT_CORRUPTED = 'checkpoint is corrupted';

/** kubelet: device plugin registration, name that fails the extended resource rule. */
export function invalidResourceName(name: string): string {
  return `the ResourceName ${goQuote(name)} is invalid`;
}

/** kubelet: device manager, why an admission fails when its record cannot be written. */
export function checkpointWriteFailed(cause: string): string {
  return `failed to write checkpoint file ${goQuote(CHECKPOINT_KEY)}: ${cause}`;
}

/** kubelet: why a container that keeps ending is not started yet. `delayMs` is the whole wait, not what is left of it. */
export function backOffRestarting(
  delayMs: number,
  container: string,
  pod: { readonly name: string; readonly namespace: string; readonly uid: string },
): string {
  return `back-off ${goSeconds(delayMs)} restarting failed container=${container} pod=${pod.name}_${pod.namespace}(${pod.uid})`;
}

/** Whole seconds as Go prints a duration: `10s`, `2m40s`, `1h0m5s`. */
function goSeconds(durationMs: number): string {
  const seconds = Math.round(durationMs / 1000);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const rest = `${String(seconds % 60)}s`;
  if (minutes === 0) return rest;
  return hours === 0 ? `${String(minutes)}m${rest}` : `${String(hours)}h${String(minutes % 60)}m${rest}`;
}
