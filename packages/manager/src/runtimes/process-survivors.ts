import type { Clock, Logger } from '../ports.ts';
import {
  isDead,
  listProcesses,
  signalProcess,
  wasStartedWith,
  type ProcessIdentity,
  type ProcessStat,
} from '../process-identity.ts';
import { sleep } from '../wake-up.ts';
import { CONTAINER_VARIABLE } from './process-environment.ts';

const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 500;
const REMARK_AFTER_MS = 10_000;

export interface ContainerProcesses {
  /** The leader of the container's session and process group. */
  readonly leader: ProcessIdentity;
  /** Value of DEVMGR_CONTAINER in the environment of all that the container started. */
  readonly mark: string;
  /** True when the leader was seen alive by this manager: then its group cannot be anybody else's. */
  readonly groupIsOurs: boolean;
}

/**
 * Kills what a container leaves behind when its main process has ended, as the kernel does for the PID namespace of a
 * real container: members of its process group, and whatever carries its mark, even in another session. Resolves when
 * nothing is left; that may take as long as a process hangs in the kernel. What dropped both group and environment
 * cannot be told from a stranger and is left alone.
 */
export async function killSurvivors(
  container: ContainerProcesses,
  options: { clock: Clock; log: Logger; signal: AbortSignal },
): Promise<void> {
  const { clock, log, signal } = options;
  const since = clock.monotonicMs();
  let remarked = false;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    const survivors = findSurvivors(container);
    if (survivors.length === 0 || signal.aborted) return;
    for (const survivor of survivors) signalProcess(survivor, 'SIGKILL');
    if (!remarked && clock.monotonicMs() - since > REMARK_AFTER_MS) {
      remarked = true;
      const pids = survivors.map((survivor) => survivor.pid);
      log.warn({ container: container.mark, pids }, 'Processes of a container do not go away; its devices stay taken');
    }
    await sleep(clock, pauseMs, signal);
  }
}

function findSurvivors(container: ContainerProcesses): ProcessStat[] {
  const { leader } = container;
  const entry = `${CONTAINER_VARIABLE}=${container.mark}`;
  const processes = listProcesses();
  // Somebody else has the leader's pid now, and so may have a group of that number.
  const taken = processes.some((found) => found.pid === leader.pid && found.startTime !== leader.startTime);
  const groupIsOurs = container.groupIsOurs && !taken;
  return processes.filter(
    (found) =>
      !isDead(found) &&
      found.startTime >= leader.startTime &&
      ((groupIsOurs && found.processGroup === leader.pid && found.session === leader.pid) ||
        wasStartedWith(found.pid, entry)),
  );
}
