import type { PluginBehaviour } from '../plugin-spec.ts';
import type { PluginLife } from './plugin-life.ts';

/** The author's behaviour with the life of the devices around its calls. */
export function livingBehaviour(behaviour: PluginBehaviour, life: PluginLife): PluginBehaviour {
  const { resource, devices } = behaviour;
  const living: PluginBehaviour = {
    resource,
    devices,
    allocate: async (ids, call) => {
      await life.beforeAllocate(ids, call.signal);
      try {
        return (await behaviour.allocate?.(ids, call)) ?? [];
      } catch (error) {
        life.notAllocated(ids);
        throw error;
      }
    },
    intercept: (method, ids, call) => behaviour.intercept?.(method, ids, call),
  };
  if (behaviour.preferredAllocation !== undefined) {
    living.preferredAllocation = (request, call) => behaviour.preferredAllocation?.(request, call) ?? [];
  }
  if (behaviour.preStart !== undefined || life.resetsBeforeUse) {
    living.preStart = async (ids, call) => {
      await life.beforeStart(ids);
      await behaviour.preStart?.(ids, call);
    };
  }
  return living;
}
