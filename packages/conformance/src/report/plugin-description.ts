import type { Bench } from '../bench/bench.ts';
import type { PluginDescription, ResourceDescription } from './report.ts';

/** What a bench has learnt about its plugin. */
export function describePlugin(bench: Bench): PluginDescription {
  const names = new Set([...bench.resources, ...bench.manager.registrations.map(({ resource }) => resource)]);
  return { command: bench.command, resources: [...names].map((name) => describeResource(bench, name)) };
}

function describeResource(bench: Bench, name: string): ResourceDescription {
  const registrations = bench.registrationsOf(name);
  const [newest] = registrations;
  const session = registrations.find((one) => one.session?.stream.latest !== undefined)?.session;
  return {
    name,
    devices: session?.devices.length ?? 0,
    healthy: session?.healthyIds.length ?? 0,
    endpoint: newest?.endpoint ?? '',
    registration: newest?.way ?? 'register',
    preferredAllocation: session?.options.getPreferredAllocationAvailable ?? false,
    preStartRequired: session?.options.preStartRequired ?? false,
    authority: newest?.authority ?? null,
  };
}
