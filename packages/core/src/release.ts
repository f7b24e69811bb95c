import { isJsonObject, type JsonObject } from './json-value.ts';

/**
 * Devices of one allocation that were given back, from then until their release succeeded: nobody gets them before. Plain
 * data as it stands in the journal; a change is a new object with the same id.
 */
export interface Release {
  /** Names it for people, plugins and hooks; the same over all attempts and restarts. */
  readonly id: string;
  readonly resource: string;
  /** In natural order, each once, at least one. */
  readonly deviceIds: readonly string[];
  /** Who had them; namespace and name are empty when they are not known. */
  readonly podUid: string;
  readonly podNamespace: string;
  readonly podName: string;
  readonly container: string;
  /** Milliseconds since the epoch at which they were given back. */
  readonly since: number;
  /** Whether the plugin had asked to be told, when they were given back. */
  readonly plugin: boolean;
  /** The command of the configuration has succeeded, and the plugin is next. */
  readonly commandDone: boolean;
  /** Attempts begun so far, of the command or, once that is done, of the plugin's call. */
  readonly attempts: number;
  /** Attempts that failed, in a row. */
  readonly failures: number;
  /** Of the last attempt that failed; empty before. */
  readonly lastError: string;
  /** Failed so often that nobody is to wait for it. */
  readonly quarantined: boolean;
}

/** A release read from a journal or checkpoint; undefined when it is none. */
export function releaseFromJson(value: unknown): Release | undefined {
  if (!isJsonObject(value)) return undefined;
  const { id, resource, deviceIds, podUid } = value;
  if (typeof id !== 'string' || typeof resource !== 'string' || typeof podUid !== 'string') return undefined;
  if (!Array.isArray(deviceIds) || deviceIds.length === 0) return undefined;
  if (!deviceIds.every((one): one is string => typeof one === 'string')) return undefined;
  return {
    id,
    resource,
    deviceIds,
    podUid,
    podNamespace: text(value, 'podNamespace'),
    podName: text(value, 'podName'),
    container: text(value, 'container'),
    since: count(value, 'since'),
    plugin: value['plugin'] === true,
    commandDone: value['commandDone'] === true,
    attempts: count(value, 'attempts'),
    failures: count(value, 'failures'),
    lastError: text(value, 'lastError'),
    quarantined: value['quarantined'] === true,
  };
}

/** `namespace/name` of the pod that had the devices, or its uid. */
export function releasedPod({
  podNamespace,
  podName,
  podUid,
}: Pick<Release, 'podNamespace' | 'podName' | 'podUid'>): string {
  return podName === '' ? podUid : `${podNamespace}/${podName}`;
}

function text(value: JsonObject, key: string): string {
  const found = value[key];
  return typeof found === 'string' ? found : '';
}

function count(value: JsonObject, key: string): number {
  const found = value[key];
  return typeof found === 'number' && Number.isSafeInteger(found) && found >= 0 ? found : 0;
}
