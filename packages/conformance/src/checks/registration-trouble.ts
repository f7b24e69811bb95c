import type { PluginEnded } from '../bench/bench-errors.ts';
import { lateManager, refusal } from '../bench/manager-trouble.ts';
import { secondLife } from '../bench/second-life.ts';
import { bad, good, moot, type Check } from '../check.ts';
import { each } from './each.ts';

/** So many calls in some seconds are a loop without a pause. */
const HOT_ATTEMPTS = 50;

/** What a plugin does when it cannot register at first. */
export const REGISTRATION_TROUBLE_CHECKS: readonly Check[] = [
  {
    id: 'registration/after-a-kill',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'A plugin that was killed registers when it is started again.',
    why: 'Its old socket lies where it was: a plugin that does not remove it fails with "address already in use" until somebody else does. (Linux: unix(7))',
    remedy: 'Remove your socket file before you bind it.',
    async run(bench) {
      const { missing, registrations, ended: end, tookMs } = await bench.observe(secondLife);
      if (end !== undefined) return ended(end, 'when it was started again');
      const took = `${(tookMs / 1000).toFixed(1)} s`;
      if (missing.length === 0) return good(`back after ${took}`);
      const refused = registrations.flatMap(({ resource, refused: why }) =>
        why === undefined ? [] : [`${resource} was refused: ${why}`],
      );
      return bad(`not back ${took} after it was started again`, [
        `missing: ${missing.join(', ')}`,
        ...new Set(refused),
      ]);
    },
  },
  {
    id: 'registration/tries-again',
    level: 'full',
    severity: 'error',
    stage: 'fresh',
    title: 'A plugin whose registration was refused tries again, or ends.',
    why: 'A kubelet refuses what it cannot dial in time, on a busy node for instance; a plugin that goes on without it offers nothing and looks well. (kubelet: RegisterPlugin)',
    remedy:
      'Repeat Register with a growing pause; or exit with a code other than 0, so that whoever started you does it again.',
    async run(bench) {
      const { recovered, ended, attempts } = await bench.observe(refusal);
      if (attempts === 0) return moot('not tested: it did not register');
      if (ended !== undefined) return good(`it ended (${ended.how}), so that it is started again`);
      return recovered
        ? good('it registered again')
        : bad('it never registered again', `${String(attempts)} calls of Register`);
    },
  },
  {
    id: 'registration/patient-when-refused',
    level: 'full',
    severity: 'warning',
    stage: 'fresh',
    title: 'A plugin that is refused pauses before it tries again.',
    why: 'A refusal is answered at once: without a pause both sides spend a processor on it and flood their logs.',
    remedy: 'Pause a second, then longer and longer.',
    async run(bench) {
      const { attempts, seconds } = await bench.observe(refusal);
      const text = `${String(attempts)} calls of Register in ${seconds.toFixed(0)} s`;
      return attempts <= HOT_ATTEMPTS ? good(text) : bad('it calls again and again without a pause', text);
    },
  },
  {
    id: 'registration/waits-for-manager',
    level: 'full',
    severity: 'warning',
    stage: 'fresh',
    title: 'A plugin that is started before the manager waits for it.',
    why: 'Nobody orders the two on a booting node; a plugin that ends is started again later and later. (Kubernetes: CrashLoopBackOff)',
    remedy: 'Wait for kubelet.sock instead of ending when it is missing.',
    async run(bench) {
      const { endedBefore } = await bench.observe(lateManager);
      return endedBefore === undefined ? good('it waits') : ended(endedBefore, 'before there was a manager');
    },
  },
  {
    id: 'registration/finds-late-manager',
    level: 'full',
    severity: 'error',
    stage: 'fresh',
    title: 'A plugin that was started before the manager registers with it.',
    why: 'The starting kubelet deletes the socket that the plugin has made meanwhile: one that does not make it again cannot be dialled. (kubelet: clean-up at start)',
    remedy: 'Bind your socket anew after kubelet.sock has appeared, and then register.',
    async run(bench) {
      const { endedBefore, endedAfter, found, afterMs } = await bench.observe(lateManager);
      if (endedBefore !== undefined) return moot('not tested: it did not wait for the manager');
      if (endedAfter !== undefined) return ended(endedAfter, 'once there was a manager');
      const after = `${(afterMs / 1000).toFixed(1)} s`;
      return found ? good(`registered after ${after}`) : bad(`not usable ${after} after the manager was there`);
    },
  },
  {
    id: 'registration/late-manager-once',
    level: 'full',
    severity: 'error',
    stage: 'fresh',
    title: 'A plugin that was started before the manager registers each resource once with it.',
    why: 'A second Register makes a kubelet of 1.37 drop the living connection from its books and refuse the path until it is restarted. (kubernetes#135437)',
    remedy:
      'Make one thing of the attempts of the start and of kubelet.sock being made: whoever comes second finds the server running and does nothing.',
    async run(bench) {
      const { found, registrations } = await bench.observe(lateManager);
      if (!found) return moot('not tested: it did not register');
      const accepted = registrations.filter(({ refused }) => refused === undefined);
      return each([...new Set(accepted.map(({ resource }) => resource))], (resource) => {
        const times = accepted
          .filter((one) => one.resource === resource)
          .map(({ atMs }) => `${String(Math.round(atMs - (registrations[0]?.atMs ?? atMs)))} ms`);
        return times.length === 1 ? undefined : `${resource}: ${times.join(', ')} after the first call`;
      }).outcome('registered once', 'a resource was registered again although the manager had accepted it');
    },
  },
];

function ended({ how, log }: PluginEnded, when: string): ReturnType<typeof bad> {
  return bad(`the plugin ended (${how}) ${when}`, ['the last lines of its log:', ...log.map((line) => `  ${line}`)]);
}
