import type { lifecycle } from '@devmgr/wire';
import type { PluginState } from '../plugin-spec.ts';
import type { DeviceStatus, DriverStatus } from './lifecycle-spec.ts';

/** What there is to tell about a plugin. */
export interface PluginFacts {
  readonly resource: string;
  /** File name of its socket. */
  readonly endpoint: string;
  readonly state: PluginState;
  readonly driver: DriverStatus | undefined;
  readonly hasListed: boolean;
  /** Why its devices cannot be listed, or the plugin is not registered. */
  readonly problem: string | undefined;
  readonly sourceProblem: string | undefined;
  readonly devices: readonly DeviceStatus[];
}

/** The report a manager gets: the whole truth, but for devices that are simply ready. */
export function pluginReport(facts: PluginFacts): lifecycle.PluginReport {
  const { resource, endpoint, driver, devices } = facts;
  return {
    resourceName: resource,
    endpoint: facts.hasListed ? endpoint : '',
    driverVersion: driver?.version ?? '',
    devices: devices
      .filter(({ phase, message }) => phase !== 'Ready' || message !== '')
      .map(({ id, phase, reason, message, since, progress }) => ({
        id,
        phase,
        reason,
        message,
        sinceMs: BigInt(since.getTime()),
        progressPercent: progress,
      })),
    ...pluginPhase(facts),
  };
}

type PhasePart = Pick<lifecycle.PluginReport, 'phase' | 'reason' | 'message' | 'progressPercent'>;

function pluginPhase({ driver, hasListed, state, problem, sourceProblem }: PluginFacts): PhasePart {
  if (driver !== undefined && driver.phase !== 'Ready') {
    const { phase, reason, message, progress } = driver;
    return { phase, reason, message, progressPercent: progress };
  }
  const part = (phase: string, reason = '', message = ''): PhasePart => ({
    phase,
    reason,
    message,
    progressPercent: undefined,
  });
  if (sourceProblem !== undefined) {
    return part(hasListed ? 'Serving' : 'Discovering', 'DiscoveryFailed', sourceProblem);
  }
  if (!hasListed)
    return part(
      problem === undefined ? 'Discovering' : 'Failed',
      problem === undefined ? '' : 'StateUnreadable',
      problem,
    );
  return state === 'refused' ? part('Serving', 'Refused', problem) : part('Serving');
}
