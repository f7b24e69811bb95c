import type { ChildProcess } from 'node:child_process';
import { setMaxListeners } from 'node:events';
import { rm } from 'node:fs/promises';
import {
  ContainerStartError,
  type ContainerEnd,
  type ContainerInstance,
  type ContainerKey,
  type ContainerRuntime,
  type ContainerStart,
  type ReadLogOptions,
  type RecoveredContainer,
} from '../container-runtime.ts';
import type { Clock, Logger } from '../ports.ts';
import { isAlive, readBootId, type ProcessIdentity } from '../process-identity.ts';
import { sleep } from '../wake-up.ts';
import { AdoptedLeader } from './adopted-leader.ts';
import {
  attemptPath,
  containerDirectory,
  listAttempts,
  listDirectories,
  podDirectory,
  prepareAttempt,
  readAttemptOutcome,
  readAttemptRecord,
  writeAttemptRecord,
  type AttemptRecord,
} from './attempt-files.ts';
import { ContainerLog, type LogLimits } from './container-log.ts';
import { resolveProcessCommand } from './process-command.ts';
import { containerEnd, exitCodeOfSignal, ProcessContainer, type LeaderEnd } from './process-container.ts';
import { buildProcessEnvironment } from './process-environment.ts';
import { prepareProcess, type PreparedProcess } from './process-launch.ts';
import { killSurvivors } from './process-survivors.ts';

const DEFAULT_LOG_LIMITS: LogLimits = { maxBytes: 10 * 1024 * 1024, maxFiles: 4 };
/** How often logs are looked at for rotation. (kubelet: containerLogMonitorInterval) */
const ROTATION_INTERVAL_MS = 10_000;
/** How often a process is looked at of which it is not known yet whether it will run its command. */
const GATE_POLL_MS = 20;
const STARTED_WITHOUT_COMMAND = 128;

export interface ProcessRuntimeOptions {
  /** Holds one directory per pod; see attempt-files.ts. Created when needed. */
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly logLimits?: LogLimits;
  /** Where containers inherit PATH, HOME and the like from; the manager's own environment by default. */
  readonly inherited?: NodeJS.ProcessEnv;
}

/**
 * Runs containers as plain processes of the manager's user: needs nothing installed, isolates nothing.
 *
 * Invariants
 * - A command runs only after pid, start time and boot of its process are written down: a manager that dies at any
 *   moment leaves nothing that its successor does not find.
 * - Every container leads its own session; its processes do not depend on the manager's life, terminal or pipes.
 * - No process is signalled whose identity was not checked right before.
 */
export class ProcessRuntime implements ContainerRuntime {
  readonly name = 'process';
  readonly notice =
    'The process runtime runs containers as plain processes of this user: it does not enforce which devices they open, ' +
    'gives them no image, file system, mounts, CDI edits or network of their own, and does not limit CPU or memory.';
  readonly #stateDir: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #logLimits: LogLimits;
  readonly #inherited: NodeJS.ProcessEnv;
  readonly #bootId = readBootId() ?? '';
  readonly #closing = new AbortController();
  /** Logs of attempts that run now, by directory and attempt. */
  readonly #running = new Map<string, ContainerLog>();
  readonly #children = new Set<ChildProcess>();
  #cancelRotation: (() => void) | undefined;

  constructor(options: ProcessRuntimeOptions) {
    this.#stateDir = options.stateDir;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#logLimits = options.logLimits ?? DEFAULT_LOG_LIMITS;
    this.#inherited = options.inherited ?? process.env;
    // Every adopted container and every reader of a log listens to it.
    setMaxListeners(0, this.#closing.signal);
  }

  async start(request: ContainerStart): Promise<ContainerInstance> {
    const { pod, container, attempt, options } = request;
    const key: ContainerKey = { podUid: pod.metadata.uid ?? '', container: container.name, attempt };
    const environment = buildProcessEnvironment({
      pod,
      container,
      options,
      containerMark: markOf(key),
      inherited: this.#inherited,
    });
    const command = resolveProcessCommand(container, environment);
    for (const what of environment.skipped) {
      const fields = { pod: pod.metadata.name, container: container.name, what };
      this.#log.warn(fields, 'Part of the manifest is not supported by the process runtime');
    }
    let prepared: PreparedProcess | undefined;
    try {
      await prepareAttempt(this.#stateDir, key);
      prepared = await prepareProcess({
        command,
        variables: environment.variables,
        exitFile: attemptPath(this.#stateDir, key, 'exit'),
        logFile: attemptPath(this.#stateDir, key, 'log'),
      });
      const record = { ...prepared.identity, bootId: this.#bootId, startedAt: this.#clock.now() };
      await writeAttemptRecord(this.#stateDir, key, record);
      this.#closing.signal.throwIfAborted();
      const leaderEnd = this.#watchChild(key, prepared);
      await prepared.release();
      return this.#track(key, record, leaderEnd);
    } catch (error) {
      prepared?.abandon();
      const cause = error instanceof Error ? error.message : String(error);
      throw new ContainerStartError('CreateContainerError', `cannot start a process: ${cause}`, { cause: error });
    }
  }

  async recover(podUid: string): Promise<readonly RecoveredContainer[]> {
    const names = await listDirectories(podDirectory(this.#stateDir, podUid));
    const found = await Promise.all(names.map((container) => this.#recoverContainer(podUid, container)));
    return found.filter((container) => container !== undefined);
  }

  readLog(key: ContainerKey, options: ReadLogOptions): AsyncIterable<Uint8Array> {
    const name = markOf(key);
    const path = attemptPath(this.#stateDir, key, 'log');
    const log = this.#running.get(name) ?? new ContainerLog(path, this.#logLimits, this.#clock);
    const { signal: closing } = this.#closing;
    return log.read({
      ...options,
      signal: AbortSignal.any([options.signal, closing]),
      isOver: () => !this.#running.has(name),
    });
  }

  async removePod(podUid: string): Promise<void> {
    for (const container of await this.recover(podUid)) {
      if (container.state !== 'running') continue;
      container.instance.stop(0);
      await container.instance.ended;
    }
    await rm(podDirectory(this.#stateDir, podUid), { recursive: true, force: true });
  }

  async retainPods(podUids: ReadonlySet<string>): Promise<void> {
    for (const podUid of await listDirectories(this.#stateDir)) {
      if (podUids.has(podUid)) continue;
      this.#log.info({ podUid }, 'Removing what an unknown pod left behind');
      await this.removePod(podUid);
    }
  }

  close(): Promise<void> {
    this.#closing.abort();
    this.#cancelRotation?.();
    for (const child of this.#children) child.unref();
    return Promise.resolve();
  }

  #track(
    key: ContainerKey,
    record: AttemptRecord,
    leaderEnd: Promise<LeaderEnd>,
    onSignal: () => void = () => undefined,
  ): ContainerInstance {
    const name = markOf(key);
    const log = new ContainerLog(attemptPath(this.#stateDir, key, 'log'), this.#logLimits, this.#clock);
    this.#running.set(name, log);
    this.#armRotation();
    const instance = new ProcessContainer({
      id: this.#idOf(key),
      startedAt: record.startedAt,
      processes: { leader: record, mark: name, groupIsOurs: true },
      leaderEnd,
      onSignal,
      clock: this.#clock,
      log: this.#log,
      closed: this.#closing.signal,
    });
    void instance.ended.then(() => {
      if (this.#running.get(name) === log) this.#running.delete(name);
    });
    return instance;
  }

  /** The end of a process that is our child. */
  #watchChild(key: ContainerKey, { child }: PreparedProcess): Promise<LeaderEnd> {
    this.#children.add(child);
    return new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#children.delete(child);
        const finishedAt = this.#clock.now();
        void readAttemptOutcome(this.#stateDir, key).then((outcome) => {
          if (signal !== null) resolve({ exitCode: exitCodeOfSignal(signal), finishedAt });
          else if (outcome.state !== 'never-started') resolve({ exitCode: code ?? undefined, finishedAt });
          else {
            const message = 'The process ended before its command could be started.';
            resolve({ exitCode: STARTED_WITHOUT_COMMAND, finishedAt, message });
          }
        });
      });
    });
  }

  async #recoverContainer(podUid: string, container: string): Promise<RecoveredContainer | undefined> {
    const attempts = await listAttempts(containerDirectory(this.#stateDir, { podUid, container }));
    const attempt = attempts.at(-1);
    if (attempt === undefined) return undefined;
    const key: ContainerKey = { podUid, container, attempt };
    const record = await readAttemptRecord(this.#stateDir, key);
    const base = { container, attempt, id: this.#idOf(key), startedAt: record?.startedAt ?? 0 };
    // Without a record the command was never let go; the process sees the end of file and goes away by itself.
    if (record === undefined) return { ...base, state: 'never-started' };
    const sameBoot = record.bootId === this.#bootId;
    if (sameBoot && (await this.#isStarted(key, record))) {
      if (isAlive(record)) {
        const adopted = new AdoptedLeader({
          stateDir: this.#stateDir,
          key,
          leader: record,
          clock: this.#clock,
          closed: this.#closing.signal,
        });
        const onSignal = (): void => {
          adopted.lookClosely();
        };
        return { ...base, state: 'running', instance: this.#track(key, record, adopted.end, onSignal) };
      }
      const processes = { leader: record, mark: markOf(key), groupIsOurs: false };
      await killSurvivors(processes, { clock: this.#clock, log: this.#log, signal: this.#closing.signal });
    }
    const outcome = await readAttemptOutcome(this.#stateDir, key);
    if (outcome.state === 'never-started') return { ...base, state: 'never-started' };
    return { ...base, state: 'ended', end: this.#endOf(outcome) };
  }

  /** Waits out the moment in which a process may or may not have got the word from a manager that died. */
  async #isStarted(key: ContainerKey, leader: ProcessIdentity): Promise<boolean> {
    for (;;) {
      const alive = isAlive(leader);
      if ((await readAttemptOutcome(this.#stateDir, key)).state !== 'never-started') return true;
      if (!alive) return false;
      await sleep(this.#clock, GATE_POLL_MS, this.#closing.signal);
      this.#closing.signal.throwIfAborted();
    }
  }

  #endOf(outcome: Awaited<ReturnType<typeof readAttemptOutcome>>): ContainerEnd {
    return outcome.state === 'ended'
      ? containerEnd(outcome)
      : containerEnd({ exitCode: undefined, finishedAt: this.#clock.now() });
  }

  #idOf(key: ContainerKey): string {
    return `${this.name}://${markOf(key)}`;
  }

  #armRotation(): void {
    if (this.#cancelRotation !== undefined || this.#closing.signal.aborted) return;
    this.#cancelRotation = this.#clock.setTimeout(() => {
      void this.#rotateAll();
    }, ROTATION_INTERVAL_MS);
  }

  async #rotateAll(): Promise<void> {
    for (const [name, log] of this.#running) {
      await log.rotateIfLarge().catch((error: unknown) => {
        this.#log.warn({ container: name, err: error }, 'Cannot rotate the output of a container');
      });
    }
    this.#cancelRotation = undefined;
    if (this.#running.size > 0) this.#armRotation();
  }
}

function markOf(key: ContainerKey): string {
  return `${key.podUid}/${key.container}/${String(key.attempt)}`;
}
