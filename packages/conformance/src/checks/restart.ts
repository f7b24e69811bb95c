import type { Bench, Observation } from '../bench/bench.ts';
import type { PluginEnded } from '../bench/bench-errors.ts';
import { quietTime } from '../bench/quiet-time.ts';
import {
  awayOneSecond,
  awayThirtySeconds,
  directoryReplaced,
  kubeletRestart,
  managerKilled,
  socketRecreated,
  twoInARow,
  type Comeback,
} from '../bench/restart-drill.ts';
import { bad, good, moot, type Check, type Outcome } from '../check.ts';
import { each } from './each.ts';
import { CONNECTION_CHECKS } from './restart-connection.ts';

const HANDLING = '(device plugin API: handling kubelet restarts)';
const NOTICE =
  'Watch the plugin directory for kubelet.sock being made, and look whether your own socket is still there; then serve anew and register.';

const KUBELET_RESTART_CHECKS: readonly Check[] = [
  {
    id: 'restart/registers-again',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'The plugin registers again after a restart of the kubelet.',
    why: `A starting kubelet deletes all sockets of the directory, makes kubelet.sock anew, and dials nobody: plugins have to notice. ${HANDLING}`,
    remedy: NOTICE,
    async run(bench) {
      const drill = await bench.observe(kubeletRestart);
      if (drill.crash !== undefined) return crashed(drill.crash);
      const came = new Set(drill.registrations.map(({ resource }) => resource));
      return each(bench.resources, (resource) =>
        came.has(resource) ? undefined : `${resource} did not register`,
      ).outcome(
        `registered again, all within ${seconds(drill.afterMs)}`,
        `not registered ${seconds(drill.afterMs)} after the manager came back`,
      );
    },
  },
  {
    id: 'restart/reachable-again',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'The plugin serves its socket anew before it registers again.',
    why: 'The kubelet has deleted the socket file: a plugin that registers without binding it again cannot be dialled, ever. (kubelet: clean-up at start)',
    remedy: 'Close the old listener, bind the socket again, and only then call Register.',
    async run(bench) {
      const { registrations } = await bench.observe(kubeletRestart);
      if (registrations.length === 0) return moot('not tested: it did not register again');
      return each(registrations, ({ resource, endpoint, probe, manager }) =>
        probe === 'grpc' || probe === undefined
          ? undefined
          : `${resource}: ${endpoint} was ${probe} when Register came to manager ${String(manager)}`,
      ).outcome('reachable', 'it registered again without serving its socket');
    },
  },
  {
    id: 'restart/registers-once',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'The plugin registers each resource once with the new kubelet.',
    why: 'A kubelet of 1.37 takes a second Register on the same socket for an error and forgets the living connection. (kubernetes#135437)',
    remedy: 'Make one thing of all signs of a restart: kubelet.sock made, own socket gone, stream ended.',
    async run(bench) {
      const { registrations } = await bench.observe(kubeletRestart);
      const accepted = registrations.filter(({ session }) => session !== undefined);
      if (accepted.length === 0) return moot('not tested: it did not register again');
      return each([...new Set(accepted.map(({ resource }) => resource))], (resource) => {
        const times = accepted.filter((one) => one.resource === resource).length;
        return times === 1 ? undefined : `${resource}: ${String(times)} times`;
      }).outcome('registered once', 'a resource was registered more than once');
    },
  },
  {
    id: 'restart/same-devices',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'The devices listed after a restart of the kubelet are those from before.',
    why: 'Containers go on running through the restart and hold their devices by id. (kubelet: checkpoint)',
    remedy: 'Make ids from what stays with the device, once; do not make new ones with each server.',
    async run(bench) {
      const { after, idsBefore, back } = await bench.observe(kubeletRestart);
      if (!back) return moot('not tested: it did not come back');
      return each(after, ({ resource, stream }) => {
        const now = new Set(stream.lists[0]?.devices.map(({ ID }) => ID));
        const lost = (idsBefore.get(resource) ?? []).filter((id) => !now.has(id));
        return lost.length === 0
          ? undefined
          : `${resource}: ${lost.slice(0, 5).join(', ')} of ${String(idsBefore.get(resource)?.length)} are gone`;
      }).outcome('the same devices', 'devices are gone or have other ids');
    },
  },
  {
    id: 'restart/allocates-again',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'Devices can be allocated after a restart of the kubelet.',
    why: 'A plugin that is registered but serves from its old state fails every new pod of the node.',
    remedy: 'Build the server and what it stands on anew, together.',
    async run(bench) {
      const { allocations } = await bench.observe(kubeletRestart);
      if (allocations.length === 0)
        return moot('not tested: nothing could be allocated before, or it did not come back');
      return each(allocations, ({ resource, containers, error }) =>
        error === undefined ? undefined : `${resource} ${containers.flat().join(', ')}: ${error.message}`,
      ).outcome('allocated', 'what could be allocated before is refused');
    },
  },
  {
    id: 'restart/stays-alive',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'The plugin outlives the restart of a kubelet.',
    why: 'A plugin that panics some seconds later takes its devices with it each time a kubelet is upgraded; that its DaemonSet starts it again hides it.',
    remedy:
      'Look at what the handlers of the old stream still do: they must end with their context and touch nothing that the new server uses.',
    async run(bench) {
      const { crash, seconds: lived } = await bench.observe(quietTime);
      return crash === undefined ? good(`alive ${String(Math.round(lived))} s later`) : crashed(crash, lived);
    },
  },
];

/** A drill that is judged as a whole. */
function drillCheck(
  check: Pick<Check, 'id' | 'level' | 'severity' | 'title' | 'why' | 'remedy'>,
  drill: Observation<Comeback>,
): Check {
  return { ...check, stage: 'drill', run: async (bench: Bench) => cameBack(await bench.observe(drill)) };
}

const DRILL_CHECKS: readonly Check[] = [
  drillCheck(
    {
      id: 'restart/kubelet-sock-made-anew',
      level: 'quick',
      severity: 'warning',
      title: 'The plugin registers again when only kubelet.sock is made anew.',
      why: `Managers that spare living sockets, and kubelets whose clean-up failed, give no other sign. ${HANDLING}`,
      remedy: 'Watch for the creation of kubelet.sock besides your own socket.',
    },
    socketRecreated,
  ),
  drillCheck(
    {
      id: 'restart/manager-killed',
      level: 'full',
      severity: 'warning',
      title: 'The plugin registers again when a killed manager is replaced and no socket is deleted.',
      why: `The stream has ended and kubelet.sock is another one; the plugin's own socket is where it was. ${HANDLING}`,
      remedy: 'Take the end of ListAndWatch, or a new kubelet.sock, as a reason to register.',
    },
    managerKilled,
  ),
  drillCheck(
    {
      id: 'restart/away-one-second',
      level: 'full',
      severity: 'error',
      title: 'The plugin is back after a second without a manager.',
      why: `A kubelet that is upgraded is away for about that long. ${HANDLING}`,
      remedy: 'Wait for kubelet.sock instead of ending, or registering in vain, when it is missing.',
    },
    awayOneSecond,
  ),
  {
    id: 'restart/waits-out-absence',
    level: 'full',
    severity: 'warning',
    stage: 'drill',
    title: 'The plugin goes on running while there is no manager.',
    why: 'One that ends is started again later and later, and may be minutes away when the kubelet is back. (Kubernetes: CrashLoopBackOff)',
    remedy: 'Wait for kubelet.sock instead of ending when it is missing.',
    async run(bench) {
      const { crash } = await bench.observe(awayThirtySeconds);
      return crash === undefined ? good('it waited') : crashed(crash);
    },
  },
  {
    id: 'restart/away-half-a-minute',
    level: 'full',
    severity: 'error',
    stage: 'drill',
    title: 'The plugin is back after half a minute without a manager.',
    why: `A kubelet with a fault in its configuration is away until somebody has mended it. ${HANDLING}`,
    remedy: 'Go on waiting for kubelet.sock, with a pause between looks, without a limit.',
    async run(bench) {
      const drill = await bench.observe(awayThirtySeconds);
      return drill.crash === undefined ? cameBack(drill) : moot('not tested: it did not wait');
    },
  },
  drillCheck(
    {
      id: 'restart/two-in-a-row',
      level: 'full',
      severity: 'error',
      title: 'The plugin is back after two restarts in a row.',
      why: `A kubelet that fails in its start is started again at once; the second restart falls into the handling of the first. ${HANDLING}`,
      remedy: 'Look again once you have registered: the socket that accepted you may be gone already.',
    },
    twoInARow,
  ),
  drillCheck(
    {
      id: 'restart/directory-replaced',
      level: 'full',
      severity: 'warning',
      title: 'The plugin is back when the plugin directory is replaced by a new one.',
      why: 'Node images that are reset, and volumes that are mounted anew, do it; a watch on the old directory sees nothing any more. (Linux: inotify(7))',
      remedy: 'Watch the directory by its path: set the watch up again when its inode changes, or look regularly.',
    },
    directoryReplaced,
  ),
];

export const RESTART_CHECKS: readonly Check[] = [...KUBELET_RESTART_CHECKS, ...DRILL_CHECKS, ...CONNECTION_CHECKS];

function cameBack({ back, missing, afterMs, crash, registrations }: Comeback): Outcome {
  if (crash !== undefined) return crashed(crash);
  if (back) return good(`back within ${seconds(afterMs)}`);
  const refused = registrations.flatMap(({ resource, refused: why }) =>
    why === undefined ? [] : [`${resource} was refused: ${why}`],
  );
  return bad(`not back ${seconds(afterMs)} after the manager was`, [
    `missing: ${missing.join(', ')}`,
    ...new Set(refused),
  ]);
}

function crashed({ how, log }: PluginEnded, livedSeconds?: number): Outcome {
  const when = livedSeconds === undefined ? '' : ` ${livedSeconds.toFixed(1)} s after it was back`;
  return bad(`the plugin ended by itself (${how})${when}`, [
    'the last lines of its log:',
    ...log.map((line) => `  ${line}`),
  ]);
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
