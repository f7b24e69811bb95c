import { RpcCode, RpcError, createClient, lifecycle } from '@devmgr/wire';
import { pause } from '../pause.ts';
import { socketIdentity } from '../register-call.ts';
import { WakeUp } from '../wake-up.ts';
import type { ManagerKind } from './holder-watch.ts';

/** A manager forgets a report that is not repeated within a minute. */
const REPEAT_MS = 20_000;
/** Changes within this time go in one report. */
const GATHER_MS = 200;
/** How often a manager that is away is looked for. */
const LOOK_MS = 1_000;
const REPORT_TIMEOUT_MS = 5_000;

interface ReporterOptions {
  /** `kubelet.sock`. */
  readonly managerSocket: string;
  readonly signal: AbortSignal;
  /** The whole truth about the plugin, as of now. */
  readonly report: () => lifecycle.PluginReport;
}

/**
 * Tells the manager how the plugin is: at each change, and again and again, from before it registers. A manager that
 * does not know of reports is asked once only; one that is away is none's fault. Nothing here ever shows as a problem.
 */
export class PluginReporter {
  readonly #options: ReporterOptions;
  readonly #wakeUp = new WakeUp();
  /** The manager's socket that refused, or took, the last report. */
  #refusedBy: string | undefined;
  #takenBy: string | undefined;
  #changed = true;
  /** What was taken last, encoded: the same again says nothing. */
  #sent: Buffer | undefined;
  #sentAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /** What answered the last report. */
  get manager(): ManagerKind {
    return this.#takenBy !== undefined ? 'devmgr' : this.#refusedBy !== undefined ? 'kubelet' : undefined;
  }

  /** There is news. */
  changed(): void {
    this.#changed = true;
    this.#wakeUp.hint();
  }

  /** Reports until the signal aborts. Never rejects. */
  async run(): Promise<void> {
    const { signal } = this.#options;
    signal.addEventListener('abort', () => {
      this.#wakeUp.hint();
    });
    while (!signal.aborted) {
      this.#wakeUp.clear();
      await this.#look().catch(() => undefined); // A socket path that is too long, say: registering will tell.
      if (isAborted(signal)) return;
      await this.#wakeUp.sleep(LOOK_MS);
      await pause(GATHER_MS, signal);
    }
  }

  async #look(): Promise<void> {
    const identity = await socketIdentity(this.#options.managerSocket);
    if (identity !== this.#refusedBy) this.#refusedBy = undefined;
    if (identity !== this.#takenBy) this.#takenBy = undefined;
    if (identity === undefined || identity === this.#refusedBy) return;
    const isDue = this.#takenBy === undefined || performance.now() - this.#sentAtMs >= REPEAT_MS;
    if (!this.#changed && !isDue) return;
    this.#changed = false;
    const report = this.#options.report();
    const encoded = Buffer.from(lifecycle.PluginReport.encode(report).finish());
    if (!isDue && this.#sent?.equals(encoded) === true) return;
    await this.#send(identity, report);
    if (this.#takenBy !== undefined) this.#sent = encoded;
  }

  async #send(identity: string, report: lifecycle.PluginReport): Promise<void> {
    const { managerSocket, signal } = this.#options;
    const client = createClient(lifecycle.PluginReportsService, managerSocket);
    try {
      await client.report(report, { timeoutMs: REPORT_TIMEOUT_MS, signal });
      this.#takenBy = identity;
      this.#sentAtMs = performance.now();
    } catch (error) {
      this.#changed = true;
      if (error instanceof RpcError && error.code === RpcCode.Unimplemented) this.#refusedBy = identity;
    } finally {
      client.close();
    }
  }
}

/** Read afresh: the compiler would otherwise remember that a signal was not aborted before an await. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
