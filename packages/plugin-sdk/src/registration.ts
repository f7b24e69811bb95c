import { basename, join } from 'node:path';
import type { deviceplugin } from '@devmgr/wire';
import { BackOff } from './back-off.ts';
import { DirectoryWatch } from './directory-watch.ts';
import { messageOf } from './plugin-log.ts';
import type { PluginLog } from './plugin-log.ts';
import type { OpenStream } from './plugin-service.ts';
import type { PluginSocket } from './plugin-socket.ts';
import type { PluginState, PluginTiming, RegistrationWay } from './plugin-spec.ts';
import { API_VERSION, callRegister, socketIdentity } from './register-call.ts';
import type { RegisterOutcome } from './register-call.ts';
import { WakeUp } from './wake-up.ts';

interface RegistrationOptions {
  readonly resource: string;
  readonly dir: string;
  readonly way: RegistrationWay;
  readonly socket: PluginSocket;
  readonly offered: () => deviceplugin.DevicePluginOptions;
  readonly timing: PluginTiming;
  readonly log: PluginLog;
  readonly onRegistered: () => void;
}

/** How long a stream must have lived for its end to count as news and not as one more failure in a row. */
const STABLE_STREAM_MS = 10_000;
/** What Kubernetes 1.37 answers, for good, to a path it knows already; another path is accepted. (kubernetes#135437) */
const ALREADY_CONNECTED = /already connected/;

/**
 * Keeps the plugin's socket in place and the plugin registered, by comparing again and again what is with what should
 * be. File events and ending streams only make it look earlier.
 *
 * Invariants: Register is never called before our socket listens; the plugin counts as registered only with the very
 * kubelet.sock that accepted it, and only while the stream that the manager opened thereafter lives; streams that are
 * alive are never cut; at most one Register call is under way; refusals are repeated with growing pauses only.
 */
export class RegistrationKeeper {
  readonly #options: RegistrationOptions;
  readonly #wakeUp = new WakeUp();
  readonly #watch: DirectoryWatch;
  readonly #backOff: BackOff;
  readonly #managerSocket: string;
  #closed = false;
  #state: PluginState = 'starting';
  #problem: string | undefined;
  /** The manager socket looked at last, and the one that accepted the plugin. */
  #seen: string | undefined;
  #acceptedBy: string | undefined;
  #acceptedAtMs = 0;
  /** Streams with this number or a later one were opened after the last Register call began. */
  #firstStreamId = Number.POSITIVE_INFINITY;
  #nextStreamId = 1;
  /** The manager's stream: the first that opened after the last Register call began, then the one that took its place. */
  #stream: OpenStream | undefined;
  /** Streams that opened since, and live: a manager that finds the plugin and is registered with at once opens two, and ends one. */
  readonly #spares = new Set<OpenStream>();
  #notBeforeMs = 0;

  constructor(options: RegistrationOptions) {
    this.#options = options;
    this.#managerSocket = join(options.dir, 'kubelet.sock');
    this.#backOff = new BackOff(options.timing.retryFirstMs, options.timing.retryMaxMs);
    this.#watch = new DirectoryWatch(options.dir, () => {
      this.#wakeUp.hint();
    });
  }

  get state(): PluginState {
    return this.#state;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  /** Runs until `close`. Never rejects. */
  async run(): Promise<void> {
    while (!this.#closed) {
      this.#wakeUp.clear();
      let sleepMs = this.#options.timing.pollMs;
      try {
        await this.#watch.ensure();
        sleepMs = await this.#look();
      } catch (error) {
        this.#setState('waiting', messageOf(error));
      }
      if (!this.#isClosed()) await this.#wakeUp.sleep(Math.max(1, Math.min(sleepMs, this.#options.timing.pollMs)));
    }
  }

  close(): void {
    this.#closed = true;
    this.#state = 'closed';
    this.#watch.close();
    this.#wakeUp.hint();
  }

  /** Something may have changed: looks now. */
  hint(): void {
    this.#wakeUp.hint();
  }

  streamOpened(stream: OpenStream): void {
    this.#nextStreamId = stream.id + 1;
    if (stream.id < this.#firstStreamId) return;
    if (this.#stream === undefined) this.#stream = stream;
    else this.#spares.add(stream);
  }

  streamEnded(stream: OpenStream): void {
    this.#spares.delete(stream);
    if (stream.id !== this.#stream?.id) return;
    this.#stream = [...this.#spares].at(-1);
    if (this.#stream !== undefined) {
      this.#spares.delete(this.#stream);
      return;
    }
    this.#acceptedBy = undefined;
    this.#firstStreamId = Number.POSITIVE_INFINITY;
    if (this.#closed) return;
    if (performance.now() - stream.openedAtMs > STABLE_STREAM_MS) this.#backOff.reset();
    this.#retryLater();
    this.#setState('waiting', 'the manager ended ListAndWatch');
    this.#wakeUp.hint();
  }

  /** The registry's verdict (NotifyRegistrationStatus), when the plugin is found by its socket. */
  registryAnswered(accepted: boolean, message: string): void {
    if (this.#closed) return;
    if (accepted) this.#accepted();
    else this.#setState('refused', message);
  }

  /** The registry is about to decide: streams that open from here on are its. */
  registryAsked(): void {
    if (this.#stream === undefined) this.#firstStreamId = this.#nextStreamId;
  }

  /** One look at the world; answers how long nothing need be done, in milliseconds. */
  async #look(): Promise<number> {
    if (!(await this.#options.socket.isPresent())) await this.#bind();
    if (this.#closed) return 0;
    return this.#options.way === 'register' ? this.#lookForManager() : this.#lookForRegistry();
  }

  async #bind(): Promise<void> {
    // Streams of the old socket end now, by our doing: that is no reason to wait before the next registration.
    this.#stream = undefined;
    this.#spares.clear();
    this.#firstStreamId = Number.POSITIVE_INFINITY;
    this.#acceptedBy = undefined;
    this.#notBeforeMs = 0;
    await this.#options.socket.bind();
    this.#options.log.debug({ resource: this.#options.resource, socket: this.#options.socket.path }, 'serving');
    if (this.#closed) await this.#options.socket.close(0);
    else if (this.#state === 'starting' || this.#state === 'registered')
      this.#setState('waiting', 'not registered yet');
  }

  async #lookForManager(): Promise<number> {
    const { timing } = this.#options;
    const identity = await socketIdentity(this.#managerSocket);
    if (identity !== this.#seen) {
      this.#seen = identity;
      this.#acceptedBy = undefined;
      this.#backOff.reset();
      this.#notBeforeMs = 0;
    }
    if (identity === undefined) {
      this.#setState('waiting', `there is no manager socket ${this.#managerSocket}`);
      return timing.pollMs;
    }
    const nowMs = performance.now();
    if (this.#acceptedBy === identity) {
      if (this.#stream !== undefined) return timing.pollMs;
      const patienceMs = this.#acceptedAtMs + timing.streamGraceMs - nowMs;
      if (patienceMs > 0) return patienceMs;
      this.#acceptedBy = undefined;
      this.#retryLater();
      this.#setState('waiting', 'the manager accepted the plugin but did not open ListAndWatch');
    }
    if (nowMs < this.#notBeforeMs) return this.#notBeforeMs - nowMs;
    await this.#register(identity);
    return Math.max(0, this.#notBeforeMs - performance.now());
  }

  async #register(identity: string): Promise<void> {
    if (this.#isClosed()) return;
    const { resource, socket, offered, timing, log } = this.#options;
    // A problem that lasts stays on display while it is tried again.
    this.#state = 'registering';
    this.#stream = undefined;
    this.#spares.clear();
    this.#firstStreamId = this.#nextStreamId;
    const attempt = new AbortController();
    const call = callRegister({
      socketPath: this.#managerSocket,
      request: { version: API_VERSION, endpoint: basename(socket.path), resourceName: resource, options: offered() },
      timeoutMs: timing.registerTimeoutMs,
      signal: attempt.signal,
    });
    const outcome = await this.#untilAnswered(call, attempt, identity);
    if (this.#closed) return;
    if (outcome.result === 'accepted') {
      this.#acceptedBy = identity;
      this.#accepted();
      return;
    }
    this.#retryLater();
    this.#setState(outcome.result === 'absent' ? 'waiting' : 'refused', outcome.message);
    if (outcome.result === 'refused' && ALREADY_CONNECTED.test(outcome.message) && socket.rename()) {
      log.info({ resource, socket: socket.path }, 'taking another socket name');
      await this.#bind();
    }
  }

  /** Waits for the answer; gives the call up when it can no longer mean anything. */
  async #untilAnswered(
    call: Promise<RegisterOutcome>,
    attempt: AbortController,
    identity: string,
  ): Promise<RegisterOutcome> {
    for (;;) {
      const outcome = await Promise.race([call, this.#wakeUp.sleep(this.#options.timing.pollMs)]);
      if (outcome !== undefined) return outcome;
      this.#wakeUp.clear();
      if (
        this.#closed ||
        (await socketIdentity(this.#managerSocket)) !== identity ||
        !(await this.#options.socket.isPresent())
      ) {
        attempt.abort();
        return call;
      }
    }
  }

  /**
   * With the registry nothing need be done but to be there. Should the manager end its stream and yet live on, it only
   * takes notice of the plugin again when the socket is a new one.
   */
  async #lookForRegistry(): Promise<number> {
    const { timing } = this.#options;
    const nowMs = performance.now();
    if (this.#state === 'registered' || this.#notBeforeMs === 0) return timing.pollMs;
    if (nowMs < this.#notBeforeMs + timing.streamGraceMs) return timing.pollMs;
    await this.#bind();
    this.#retryLater();
    return timing.pollMs;
  }

  #accepted(): void {
    this.#acceptedAtMs = performance.now();
    if (this.#stream !== undefined || this.#options.way === 'register') this.#notBeforeMs = 0;
    this.#state = 'registered';
    this.#problem = undefined;
    const { resource, socket, log, onRegistered } = this.#options;
    log.info({ resource, socket: socket.path }, 'registered');
    onRegistered();
  }

  #retryLater(): void {
    this.#notBeforeMs = performance.now() + this.#backOff.next();
  }

  /** Notes where things stand; the same problem again is not logged again. */
  #setState(state: PluginState, problem: string): void {
    if (this.#closed) return;
    this.#state = state;
    if (problem === this.#problem) return;
    this.#problem = problem;
    const fields = { resource: this.#options.resource, problem };
    if (state === 'refused') this.#options.log.warn(fields, 'the manager refused the plugin');
    else this.#options.log.info(fields, 'waiting for a manager');
  }

  /** Read afresh: the compiler would otherwise remember the value from before an await. */
  #isClosed(): boolean {
    return this.#closed;
  }
}
