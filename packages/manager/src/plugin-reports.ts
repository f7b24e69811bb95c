import { checkResourceName } from '@devmgr/core';
import type { lifecycle } from '@devmgr/wire';
import type { Clock, DeviceReportView, EventReason, PluginReportSink, PluginReportView } from './ports.ts';

/** A report that is not repeated for so long, while its plugin has no stream open, is forgotten. */
const KEPT_MS = 60_000;
/** Bounds on what is kept of plugins that report nonsense, or too much of it. */
const MAX_REPORTS = 1_000;
const MAX_DEVICES = 20_000;
const MAX_MESSAGE = 1_024;
const MAX_NAME = 256;
const WORD = /^[A-Z][A-Za-z0-9]{0,62}$/;
/** Devices named in an event; more are counted. */
const MAX_NAMED = 5;
const TROUBLE: ReadonlySet<string> = new Set(['Degraded', 'Failing', 'Quarantined']);

interface KeptReport {
  readonly resource: string;
  readonly endpoint: string;
  readonly view: PluginReportView;
  readonly devices: ReadonlyMap<string, DeviceReportView>;
  /** A stream of the plugin was open when it was last looked after. */
  connected: boolean;
  cancel: () => void;
}

export interface PluginReportsParts {
  readonly clock: Clock;
  /** Whether a stream of the plugin with this socket file is open. */
  readonly isConnected: (resource: string, endpoint: string) => boolean;
  readonly event: (type: 'Normal' | 'Warning', reason: EventReason, message: string) => void;
  readonly changed: () => void;
}

/**
 * What plugins say of themselves beyond the device plugin API, the latest report of each.
 *
 * Invariants: at most {@link MAX_REPORTS} reports with {@link MAX_DEVICES} devices in all are kept, every text is cut;
 * a report goes a minute after its last repetition unless its plugin is connected; nothing here decides about devices.
 */
export class PluginReports implements PluginReportSink {
  readonly #parts: PluginReportsParts;
  /** By resource, then by endpoint; no inner map is empty. */
  readonly #reports = new Map<string, Map<string, KeptReport>>();
  #count = 0;
  #devices = 0;

  constructor(parts: PluginReportsParts) {
    this.#parts = parts;
  }

  report(report: lifecycle.PluginReport): string | undefined {
    const { resourceName: resource, endpoint } = report;
    const before = this.of(resource, endpoint);
    const refusal = refusalOf(report) ?? this.#refuseMore(report, before);
    if (refusal !== undefined) return refusal;
    // Before it serves a plugin has no endpoint: this one has it now.
    const replaced = before ?? (endpoint === '' ? undefined : this.of(resource, ''));
    const now = this.#parts.clock.now();
    const kept = read(report, replaced, now);
    if (replaced !== undefined) this.#drop(replaced);
    this.#keep({ ...kept, resource, endpoint, connected: false, cancel: () => undefined });
    this.#tell(resource, kept, replaced);
    this.#parts.changed();
    return undefined;
  }

  /** The latest report of the plugin with this socket file; an empty name is that of one which does not serve yet. */
  of(resource: string, endpoint: string): KeptReport | undefined {
    return this.#reports.get(resource)?.get(endpoint);
  }

  /** What is said of a device; of several plugins of the resource the last to report it counts. */
  device(resource: string, id: string): DeviceReportView | undefined {
    let found: DeviceReportView | undefined;
    for (const { devices } of this.#reports.get(resource)?.values() ?? []) found = devices.get(id) ?? found;
    return found;
  }

  /** Whether a plugin of the resource has reported lately. */
  knows(resource: string): boolean {
    return this.#reports.has(resource);
  }

  *all(): Iterable<{ readonly resource: string; readonly endpoint: string; readonly view: PluginReportView }> {
    for (const ofResource of this.#reports.values()) yield* ofResource.values();
  }

  stop(): void {
    for (const ofResource of [...this.#reports.values()]) for (const kept of [...ofResource.values()]) this.#drop(kept);
  }

  #refuseMore({ devices }: lifecycle.PluginReport, before: KeptReport | undefined): string | undefined {
    if (before === undefined && this.#count >= MAX_REPORTS) return `more than ${String(MAX_REPORTS)} plugins report`;
    if (this.#devices - (before?.devices.size ?? 0) + devices.length > MAX_DEVICES) {
      return `more than ${String(MAX_DEVICES)} devices are reported`;
    }
    return undefined;
  }

  #keep(kept: KeptReport): void {
    const ofResource = this.#reports.get(kept.resource) ?? new Map<string, KeptReport>();
    this.#reports.set(kept.resource, ofResource.set(kept.endpoint, kept));
    this.#count += 1;
    this.#devices += kept.devices.size;
    this.#lookAfter(kept);
  }

  #lookAfter(kept: KeptReport): void {
    kept.cancel = this.#parts.clock.setTimeout(() => {
      const connected = this.#parts.isConnected(kept.resource, kept.endpoint);
      // Of one whose stream has ended since, the minute begins anew.
      if (connected || kept.connected) {
        kept.connected = connected;
        this.#lookAfter(kept);
        return;
      }
      this.#drop(kept);
      this.#parts.changed();
    }, KEPT_MS);
  }

  #drop(kept: KeptReport): void {
    kept.cancel();
    const ofResource = this.#reports.get(kept.resource);
    if (ofResource?.get(kept.endpoint) !== kept) return;
    ofResource.delete(kept.endpoint);
    if (ofResource.size === 0) this.#reports.delete(kept.resource);
    this.#count -= 1;
    this.#devices -= kept.devices.size;
  }

  /** Events about what differs in phase or reason; progress and messages alone are none. */
  #tell(resource: string, now: Pick<KeptReport, 'view' | 'devices'>, before: KeptReport | undefined): void {
    const { phase, reason, message } = now.view;
    if (phase !== before?.view.phase || reason !== before.view.reason) {
      const text = `${resource}: ${words(phase, reason)}${message === '' ? '' : `: ${message}`}`;
      if (phase === 'Failed') this.#parts.event('Warning', 'PluginFailed', text);
      else if (phase !== 'Serving') this.#parts.event('Normal', 'PluginPreparing', text);
      else if (before !== undefined) this.#parts.event('Normal', 'PluginServing', text);
    }
    const changed = new Map<string, { phase: string; ids: string[] }>();
    for (const [id, device] of now.devices) {
      const was = before?.devices.get(id);
      if (device.phase === (was?.phase ?? 'Ready') && (was === undefined || device.reason === was.reason)) continue;
      const what = words(device.phase, device.reason);
      const group = changed.get(what) ?? { phase: device.phase, ids: [] };
      changed.set(what, group);
      group.ids.push(id);
    }
    for (const [what, { phase: devicePhase, ids }] of changed) {
      const named = ids.slice(0, MAX_NAMED).join(', ');
      const more = ids.length > MAX_NAMED ? ` and ${String(ids.length - MAX_NAMED)} more` : '';
      const type = TROUBLE.has(devicePhase) ? 'Warning' : 'Normal';
      this.#parts.event(type, 'DevicePhaseChanged', `${resource}: ${named}${more}: ${what}`);
    }
  }
}

function refusalOf({ resourceName, endpoint, phase, reason, devices }: lifecycle.PluginReport): string | undefined {
  const checked = checkResourceName(resourceName);
  if (!checked.ok) return checked.message;
  if (endpoint.length > MAX_NAME || /[/\0]/.test(endpoint)) return 'the endpoint is not the file name of a socket';
  if (!WORD.test(phase)) return 'the phase is not a word in CamelCase';
  if (reason !== '' && !WORD.test(reason)) return 'the reason is not a word in CamelCase';
  for (const device of devices) {
    if (device.id === '' || device.id.length > MAX_NAME) return 'a device id is empty or too long';
    if (!WORD.test(device.phase)) return 'the phase of a device is not a word in CamelCase';
    if (device.reason !== '' && !WORD.test(device.reason)) return 'the reason of a device is not a word in CamelCase';
  }
  return undefined;
}

function read(
  report: lifecycle.PluginReport,
  before: KeptReport | undefined,
  now: number,
): Pick<KeptReport, 'view' | 'devices'> {
  const { phase, reason, message, progressPercent, driverVersion } = report;
  const same = before?.view.phase === phase;
  const view: PluginReportView = {
    phase,
    reason,
    message: cut(message),
    progressPercent: percent(progressPercent),
    driverVersion: driverVersion === '' ? null : driverVersion.slice(0, MAX_NAME),
    since: same ? before.view.since : new Date(now).toISOString(),
    reportedAt: new Date(now).toISOString(),
  };
  const devices = new Map<string, DeviceReportView>();
  for (const device of report.devices) {
    devices.set(device.id, {
      phase: device.phase,
      reason: device.reason,
      message: cut(device.message),
      progressPercent: percent(device.progressPercent),
      since: time(device.sinceMs),
    });
  }
  return { view, devices };
}

function words(phase: string, reason: string): string {
  return reason === '' ? phase : `${phase} (${reason})`;
}

function cut(text: string): string {
  return text.length <= MAX_MESSAGE ? text : `${text.slice(0, MAX_MESSAGE - 1)}…`;
}

function percent(value: number | undefined): number | null {
  return value === undefined ? null : Math.min(100, Math.max(0, value));
}

/** RFC 3339; null for what is no time of these centuries. */
function time(ms: bigint): string | null {
  return ms > 0n && ms < 10_000_000_000_000n ? new Date(Number(ms)).toISOString() : null;
}
