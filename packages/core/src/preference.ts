import type { DeviceEntry } from './device-entry.ts';

/**
 * What of a plugin's GetPreferredAllocation answer can be used: the ids that `permitted` accepts, in the plugin's order,
 * each once, at most `count`. An answer may be too short or too long, or name unknown, unavailable or repeated ids; such
 * ids are passed over. (kubelet: device manager, GetPreferredAllocation)
 */
export function usablePreference(
  preferred: readonly string[],
  count: number,
  permitted: (id: string) => DeviceEntry | undefined,
): DeviceEntry[] {
  const usable = new Set<DeviceEntry>();
  for (const id of preferred) {
    if (usable.size >= count) break;
    const entry = permitted(id);
    if (entry !== undefined) usable.add(entry);
  }
  return [...usable];
}
