import { lstat, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { manyRestarts } from '../bench/many-restarts.ts';
import { quietTime } from '../bench/quiet-time.ts';
import { awayThirtySeconds } from '../bench/restart-drill.ts';
import { termination, terminationWhileWaiting, type Termination } from '../bench/termination.ts';
import type { UsageSpan } from '../bench/usage-span.ts';
import { bad, good, moot, type Check, type Outcome } from '../check.ts';
import { each } from './each.ts';

/** Of one processor. */
const BUSY = 0.25;
/** On a machine with more to do than processors, a loop without a pause gets its share, and waits for the rest of the time. */
const BUSY_IN_A_CROWD = 0.08;
const WANTS_ALL = 0.8;
const CHATTY_LINES_A_SECOND = 15;
const LAST_WORDS_LINES = 50;
const SLOW_END_MS = 10_000;
/** Files of the kubelet's own in the plugin directory. (kubelet: checkpoint manager) */
const KUBELET_FILES = ['kubelet_internal_checkpoint'];
const MEBIBYTE = 1024 * 1024;

export const MANNERS_CHECKS: readonly Check[] = [
  {
    id: 'manners/no-other-files',
    level: 'quick',
    severity: 'warning',
    title: 'The plugin leaves nothing but its sockets in the plugin directory.',
    why: 'A kubelet that registers a new node looks whether the directory is empty to tell a fresh machine from a restart; nobody else cleans up there. (kubelet: reset of extended resources)',
    remedy: 'Keep lock files and the like elsewhere, in /run or /tmp.',
    async run(bench) {
      await bench.ready();
      const { pluginDir } = bench.manager;
      const strange: string[] = [];
      for (const name of await readdir(pluginDir)) {
        const file = await lstat(join(pluginDir, name)).catch(() => undefined);
        if (file?.isSocket() === false && !KUBELET_FILES.includes(name)) strange.push(name);
      }
      return each(strange, (name) => name).outcome('sockets alone', 'other files lie in the plugin directory');
    },
  },
  {
    id: 'manners/idle-processor',
    level: 'quick',
    severity: 'warning',
    stage: 'drill',
    title: 'The plugin needs next to no processor time while nothing happens.',
    why: 'It runs on every node for good; a loop that does not wait takes a processor from what the node is for.',
    remedy: 'Wait for events, or pause between looks.',
    async run(bench) {
      return judgeProcessor(await bench.observe(quietTime));
    },
  },
  {
    id: 'manners/idle-log',
    level: 'quick',
    severity: 'warning',
    stage: 'drill',
    title: 'The plugin logs next to nothing while nothing happens.',
    why: 'The log of a node is shared and kept; a flood pushes out what others had to say.',
    remedy: 'Log changes, and a cause that lasts once.',
    async run(bench) {
      return judgeLog(await bench.observe(quietTime));
    },
  },
  {
    id: 'manners/waiting-processor',
    level: 'full',
    severity: 'warning',
    stage: 'drill',
    title: 'The plugin needs next to no processor time while it waits for a manager.',
    why: 'A kubelet that does not start is trouble enough without plugins that spin until it does.',
    remedy: 'Pause between attempts, longer and longer.',
    async run(bench) {
      return judgeProcessor((await bench.observe(awayThirtySeconds)).away);
    },
  },
  {
    id: 'manners/waiting-log',
    level: 'full',
    severity: 'warning',
    stage: 'drill',
    title: 'The plugin logs next to nothing while it waits for a manager.',
    why: 'The log of a node whose kubelet does not start is where one looks for the reason.',
    remedy: 'Say once that you wait, and once when it is over.',
    async run(bench) {
      return judgeLog((await bench.observe(awayThirtySeconds)).away);
    },
  },
  {
    id: 'manners/descriptors',
    level: 'full',
    severity: 'error',
    stage: 'drill',
    title: 'The plugin holds no more descriptors after many restarts of a kubelet than before.',
    why: 'Watches, connections and listeners that are not closed add up until the process can open none any more. (Linux: getrlimit(2), RLIMIT_NOFILE)',
    remedy: 'Close the old listener, its connections and the file watch when you make new ones.',
    async run(bench) {
      const { restarts, before, after } = await bench.observe(manyRestarts);
      if (before.descriptors === undefined || after.descriptors === undefined)
        return moot('descriptors may not be counted');
      const text = `${String(before.descriptors)} before, ${String(after.descriptors)} after ${String(restarts)} restarts`;
      const more = after.descriptors - before.descriptors;
      return more > 5 && more * 4 > restarts ? bad('descriptors are left open', text) : good(text);
    },
  },
  {
    id: 'manners/memory',
    level: 'full',
    severity: 'warning',
    stage: 'drill',
    title: 'The plugin holds about as much memory after many restarts of a kubelet as before.',
    why: 'A plugin runs as long as its node; what grows with every restart ends in a kill for memory.',
    remedy: 'Look for servers, streams and goroutines that outlive the manager they belonged to.',
    async run(bench) {
      const { restarts, before, after } = await bench.observe(manyRestarts);
      const show = (bytes: number): string => `${String(Math.round(bytes / MEBIBYTE))} MiB`;
      const text = `${show(before.residentBytes)} before, ${show(after.residentBytes)} after ${String(restarts)} restarts`;
      const more = after.residentBytes - before.residentBytes;
      // Collectors of garbage take their time: only what is much, by itself and for each restart, is called a leak.
      return more > 64 * MEBIBYTE && more > restarts * MEBIBYTE ? bad('memory is not given back', text) : good(text);
    },
  },
  {
    id: 'manners/stays-up',
    level: 'quick',
    severity: 'error',
    stage: 'end',
    title: 'The plugin ends only when it is asked to.',
    why: 'While it is away its devices are unhealthy and pods that ask for them fail.',
    remedy: 'Start from the last lines of its log.',
    async run(bench) {
      if (!bench.launched) return moot('the plugin was not started by the test');
      await bench.ready();
      const untold = bench.crashes.filter(({ told }) => !told);
      if (untold.length === 0) return good('no end without a reason');
      const how = untold.map((crash) => crash.how).join(', ');
      return bad(
        `the plugin ended by itself (${how})`,
        untold.flatMap(({ log }) => log.map((line) => `  ${line}`)),
      );
    },
  },
  {
    id: 'manners/sigterm',
    level: 'quick',
    severity: 'error',
    stage: 'end',
    title: 'The plugin ends when it gets SIGTERM.',
    why: 'A cluster waits 30 seconds and then kills it: what it should have cleaned up stays. (Pod: terminationGracePeriodSeconds)',
    remedy:
      'Handle SIGTERM: stop the server, remove the socket, exit. As process 1 of a container nothing happens without a handler.',
    async run(bench) {
      return judgeEnd(await bench.observe(termination));
    },
  },
  {
    id: 'manners/ends-promptly',
    level: 'quick',
    severity: 'warning',
    stage: 'end',
    title: 'The plugin ends within seconds of SIGTERM.',
    why: 'Until it has ended its successor cannot start; a roll-out over many nodes waits for each.',
    remedy: 'Cancel what waits instead of sleeping it out, and stop several resources at the same time.',
    async run(bench) {
      const { end, tookMs } = await bench.observe(termination);
      if (end === undefined) return moot('not tested: it did not end');
      const took = `it took ${(tookMs / 1000).toFixed(1)} s`;
      return tookMs <= SLOW_END_MS ? good(took) : bad(took);
    },
  },
  {
    id: 'manners/exit-code',
    level: 'quick',
    severity: 'warning',
    stage: 'end',
    title: 'The exit code after SIGTERM is 0, or that of the signal.',
    why: 'Any other is counted and shown as a failure of the pod. (Pod: container state terminated)',
    remedy: 'Exit with 0 when you were asked to end.',
    async run(bench) {
      const { end } = await bench.observe(termination);
      if (end === undefined) return moot('not tested: it did not end');
      // 143 is 128 plus the number of SIGTERM.
      return end.exitCode === 0 || end.exitCode === 143 ? good(end.how) : bad(`it ended with ${end.how}`);
    },
  },
  {
    id: 'manners/removes-its-socket',
    level: 'quick',
    severity: 'warning',
    stage: 'end',
    title: 'The plugin takes its socket with it.',
    why: 'A socket without a plugin is dialled in vain by managers that look for living ones, and in plugins_registry over and over. (kubelet: plugin watcher)',
    remedy: 'Close the listener on SIGTERM, or unlink the socket yourself.',
    async run(bench) {
      const { end, left } = await bench.observe(termination);
      if (end === undefined) return moot('not tested: it did not end');
      return each(left, (path) => basename(path)).outcome('no socket was left', 'its socket is still there');
    },
  },
  {
    id: 'manners/last-words',
    level: 'quick',
    severity: 'warning',
    stage: 'end',
    title: 'The plugin logs next to nothing between SIGTERM and its end.',
    why: 'A loop over a channel that was closed shows here first: thousands of lines in a hundredth of a second.',
    remedy: 'Leave loops when their channel is closed or their context done.',
    async run(bench) {
      const { logLines } = await bench.observe(termination);
      const text = `${String(logLines)} lines`;
      return logLines <= LAST_WORDS_LINES ? good(text) : bad('it flooded its log while it ended', text);
    },
  },
  {
    id: 'manners/sigterm-while-waiting',
    level: 'full',
    severity: 'error',
    stage: 'fresh',
    title: 'The plugin ends when it gets SIGTERM while it waits for a manager.',
    why: 'A node whose kubelet is gone is drained and repaired all the same. (Pod: terminationGracePeriodSeconds)',
    remedy: 'Wait for the signal and for kubelet.sock together.',
    async run(bench) {
      return judgeEnd(await bench.observe(terminationWhileWaiting));
    },
  },
];

function judgeProcessor({ cpuMs, waitingMs = 0, seconds }: UsageSpan): Outcome {
  if (cpuMs === undefined || seconds === 0) return moot('not tested: its processor time is not known');
  const share = cpuMs / 1000 / seconds;
  const text = `${String(Math.round(share * 100))}% of a processor over ${seconds.toFixed(0)} s`;
  const wanted = (cpuMs + waitingMs) / 1000 / seconds;
  const isBusy = share > BUSY || (share > BUSY_IN_A_CROWD && wanted > WANTS_ALL);
  return !isBusy ? good(text) : bad('it is busy', text);
}

function judgeLog({ logLines, seconds }: UsageSpan): Outcome {
  if (logLines === undefined || seconds === 0) return moot('not tested: its log is not known');
  const text = `${String(logLines)} lines in ${seconds.toFixed(0)} s`;
  return logLines <= CHATTY_LINES_A_SECOND * seconds ? good(text) : bad('it floods its log', text);
}

function judgeEnd({ end, tookMs }: Termination): Outcome {
  const took = `${(tookMs / 1000).toFixed(1)} s`;
  return end === undefined ? bad(`still running ${took} after SIGTERM`) : good(`ended after ${took} (${end.how})`);
}
