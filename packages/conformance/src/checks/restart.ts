import { kubeletRestart, socketRecreated, type Comeback } from '../bench/restart-drill.ts';
import { quietTime } from '../bench/quiet-time.ts';
import { bad, good, moot, type Check, type Outcome } from '../check.ts';
import { each } from './each.ts';

export const RESTART_CHECKS: readonly Check[] = [
  {
    id: 'restart/registers-again',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'The plugin registers again after a restart of the kubelet.',
    why: 'A starting kubelet deletes all sockets of the directory, makes kubelet.sock anew, and dials nobody: plugins have to notice. (device plugin API: handling kubelet restarts)',
    remedy:
      'Watch the plugin directory for kubelet.sock being made, or look whether your own socket is still there; then serve anew and register.',
    async run(bench) {
      const drill = await bench.observe(kubeletRestart);
      const came = new Set(drill.registrations.map(({ resource }) => resource));
      return each(bench.resources, (resource) =>
        came.has(resource) ? undefined : `${resource} did not register`,
      ).outcome(
        `registered after ${seconds(firstCall(drill))}`,
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
      const drill = await bench.observe(kubeletRestart);
      if (drill.registrations.length === 0) return moot('not tested: it did not register again');
      return each(
        drill.registrations.filter(({ probe }) => probe !== 'grpc'),
        ({ resource, endpoint, probe }) =>
          `${resource}: ${endpoint} was ${probe ?? 'not looked at'} when Register came`,
      ).outcome('reachable', 'it registered again without serving its socket');
    },
  },
  {
    id: 'restart/stays-alive',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'The plugin outlives the restart of a manager.',
    why: 'A plugin that panics some seconds later takes its devices with it each time a kubelet is upgraded; the restart by its DaemonSet hides it.',
    remedy:
      'Look at what the handlers of the old stream still do: they must end with their context and touch nothing that the new server uses.',
    async run(bench) {
      const { crash, seconds: lived } = await bench.observe(quietTime);
      if (crash === undefined) return good(`alive ${String(Math.round(lived))} s later`);
      return bad(`the plugin ended by itself (${crash.how}) ${lived.toFixed(1)} s after it was back`, [
        'the last lines of its log:',
        ...crash.log.map((line) => `  ${line}`),
      ]);
    },
  },
  {
    id: 'restart/kubelet-sock-made-anew',
    level: 'quick',
    severity: 'warning',
    stage: 'drill',
    title: 'The plugin registers again when only kubelet.sock is made anew.',
    why: 'Managers that spare living sockets, and kubelets whose clean-up failed, leave nothing else to notice.',
    remedy: 'Watch for the creation of kubelet.sock besides your own socket.',
    async run(bench) {
      return cameBack(await bench.observe(socketRecreated));
    },
  },
];

function cameBack({ back, missing, afterMs }: Comeback): Outcome {
  return back
    ? good(`back after ${seconds(afterMs)}`)
    : bad(`not back ${seconds(afterMs)} after the manager was`, `missing: ${missing.join(', ')}`);
}

function firstCall({ registrations, before, afterMs }: Comeback): number {
  const [first] = registrations;
  return first === undefined || before.length === 0 ? afterMs : Math.min(afterMs, afterMs);
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
