import { DevmgrError, type ObjectMeta, type Pod } from '@devmgr/core';
import type {
  AdmissionResult,
  ContainerOptions,
  EventReason,
  LeaseMessage,
  LeaseRequest,
  WaitingForDevices,
} from '../ports.ts';
import type { ProcessIdentity } from '../process-identity.ts';
import { isAborted, WakeUp } from '../wake-up.ts';
import { Lease } from './lease.ts';
import { newPod, randomSuffix } from './new-pod.ts';
import { addPod, LEASE_ANNOTATION, podReference, uidOf, type PodServices } from './pod-services.ts';

/** How long a granted lease waits for its process to be named. */
const ATTACH_WITHIN_MS = 60_000;
/** The same once the client's connection is gone: its other call may be under way. */
const ATTACH_WITHIN_AFTER_ABORT_MS = 5000;
/** Devices that a plugin lists anew are not announced: a waiting lease also looks by itself. */
const RETRY_MS = 2000;

/**
 * Refusals that time can heal: too few devices free, healthy, known or well placed. What a plugin refused is not asked
 * for again. (kubelet: device manager and topology manager, admission messages)
 */
const WORTH_WAITING = [
  /requested number of devices unavailable for /,
  /no healthy devices present; cannot allocate unhealthy devices /,
  /cannot allocate unregistered device /,
  /Node didn't have enough resource: /,
  /Resources cannot be allocated with Topology locality/,
];

/** `devmgr run`: gives devices to processes that are not ours, and takes them back. See {@link Lease} for one of them. */
export class LeaseManager {
  readonly #services: PodServices;
  readonly #nodeName: string;
  readonly #leases = new Map<string, Lease>();
  readonly #freed: WakeUp;
  readonly #stop = new AbortController();

  constructor(options: { services: PodServices; nodeName: string }) {
    this.#services = options.services;
    this.#nodeName = options.nodeName;
    this.#freed = new WakeUp(options.services.clock);
  }

  /** See LeaseService.acquire. Throws MANIFEST_INVALID, ALREADY_EXISTS, STATE_WRITE_FAILED at the first step. */
  async *acquire(request: LeaseRequest, signal: AbortSignal): AsyncGenerator<LeaseMessage, void, undefined> {
    if (this.#stop.signal.aborted) throw new DevmgrError('CONFLICT', 'the manager is stopping');
    const lease = await this.#create(request);
    const told = new WakeUp(this.#services.clock);
    const messages: LeaseMessage[] = [];
    let delivered = false;
    const tell = (message: LeaseMessage): void => {
      messages.push(message);
      told.wake();
    };
    const state: { decided: boolean; failure?: Error } = { decided: false };
    void this.#decide(lease, request, signal, tell)
      .catch((error: unknown) => {
        if (signal.aborted) return;
        if (this.#stop.signal.aborted)
          tell({ type: 'refused', reason: 'Stopping', message: 'the manager is stopping' });
        else if (lease.over.aborted) tell({ type: 'refused', reason: 'Deleted', message: 'the lease was deleted' });
        else state.failure = error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => {
        state.decided = true;
        told.wake();
      });
    try {
      for (;;) {
        const message = messages.shift();
        if (message !== undefined) {
          yield message;
          // Asked for the next one: this one has arrived.
          if (message.type === 'granted') {
            delivered = true;
            this.#expectProcess(lease, signal);
            return;
          }
        } else if (state.decided) {
          if (state.failure !== undefined) throw state.failure;
          return;
        } else await told.wait(RETRY_MS);
      }
    } finally {
      if (!delivered) await lease.finish(undefined);
    }
  }

  async attach(uid: string, identity: ProcessIdentity): Promise<void> {
    await this.#find(uid).attach(identity);
  }

  async end(uid: string, exitCode: number | undefined): Promise<void> {
    await this.#find(uid).finish(exitCode);
  }

  amend(uid: string, change: Partial<ObjectMeta>): Promise<Pod> {
    const lease = this.#leases.get(uid);
    return lease === undefined ? Promise.reject(notFound(uid)) : lease.amend(change);
  }

  /** The pod of the lease was marked as deleted. */
  remove(uid: string, graceMs: number): void {
    void this.#leases.get(uid)?.remove(graceMs);
  }

  restore(pod: Pod, { rebooted }: { rebooted: boolean }): void {
    this.#keep(new Lease(this.#services, pod)).restore(rebooted);
  }

  isActive(uid: string): boolean {
    return this.#leases.get(uid)?.isActive ?? false;
  }

  healthChanged(uid: string): void {
    this.#leases.get(uid)?.healthChanged();
  }

  /** Something was given back or became healthy: whoever waits may try again. */
  devicesFreed(): void {
    this.#freed.wake();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all([...this.#leases.values()].map((lease) => lease.stop()));
  }

  async #create(request: LeaseRequest): Promise<Lease> {
    const { clock } = this.#services;
    const pod = newPod(manifestOf(request), {
      namespace: request.namespace ?? 'default',
      nodeName: this.#nodeName,
      now: clock.now(),
      allowLease: true,
    });
    return this.#keep(new Lease(this.#services, await addPod(this.#services, pod)));
  }

  #keep(lease: Lease): Lease {
    const uid = uidOf(lease.pod);
    this.#leases.set(uid, lease);
    lease.over.addEventListener(
      'abort',
      () => {
        void lease.finish(undefined).then(() => {
          if (!lease.isActive) this.#leases.delete(uid);
        });
      },
      { once: true },
    );
    return lease;
  }

  /** Ends with one `granted` or `refused`; rejects when the client, the user or the manager gave up. */
  async #decide(
    lease: Lease,
    request: LeaseRequest,
    signal: AbortSignal,
    tell: (message: LeaseMessage) => void,
  ): Promise<void> {
    const { clock } = this.#services;
    const limit = new AbortController();
    const cancelLimit =
      request.waitForDevicesMs > 0
        ? clock.setTimeout(() => {
            limit.abort();
          }, request.waitForDevicesMs)
        : () => undefined;
    let last = '';
    const wait = (reason: WaitingForDevices['reason'] | 'WaitingForDevices', message: string): void => {
      if (message === last) return;
      last = message;
      lease.showWaiting(reason, message);
      tell({ type: 'waiting', message });
    };
    try {
      const either = AbortSignal.any([signal, limit.signal, this.#stop.signal]);
      for (;;) {
        const onWaiting = ({ reason, message }: WaitingForDevices): void => wait(reason, message);
        const impatient = request.waitForDevicesMs === 0;
        const result = await this.#tryOnce(lease, either, limit.signal, onWaiting, impatient);
        if (result === 'timeout') {
          this.#refuse(lease, tell, 'DeadlineExceeded', `no devices within the time to wait: ${last}`);
          return;
        }
        if (result.ok) {
          await this.#grant(lease, signal, tell);
          return;
        }
        const patient = request.waitForDevicesMs > 0 && !limit.signal.aborted;
        if (!patient || !WORTH_WAITING.some((text) => text.test(result.message))) {
          this.#refuse(lease, tell, result.reason, result.message);
          return;
        }
        wait('WaitingForDevices', result.message);
        await this.#freed.wait(RETRY_MS, AbortSignal.any([either, lease.over]));
        signal.throwIfAborted();
        lease.over.throwIfAborted();
        if (isAborted(limit.signal)) {
          this.#refuse(lease, tell, result.reason, result.message);
          return;
        }
      }
    } finally {
      cancelLimit();
    }
  }

  async #tryOnce(
    lease: Lease,
    signal: AbortSignal,
    limit: AbortSignal,
    onWaiting: (waiting: WaitingForDevices) => void,
    impatient: boolean,
  ): Promise<AdmissionResult | 'timeout'> {
    try {
      return await lease.admit(signal, onWaiting, impatient);
    } catch (error) {
      if (limit.aborted && !lease.over.aborted) return 'timeout';
      throw error;
    }
  }

  async #grant(lease: Lease, signal: AbortSignal, tell: (message: LeaseMessage) => void): Promise<void> {
    let options: ContainerOptions;
    try {
      options = await lease.grant(signal);
    } catch (error) {
      signal.throwIfAborted();
      lease.over.throwIfAborted();
      this.#refuse(lease, tell, 'CreateContainerConfigError', error instanceof Error ? error.message : String(error));
      return;
    }
    const devicePaths = options.devices.map((device) => device.hostPath);
    const env = Object.fromEntries(options.envs);
    if (devicePaths.length > 0) env['DEVMGR_DEVICE_PATHS'] = devicePaths.join(':');
    const devices = Object.fromEntries(options.allocated);
    tell({ type: 'granted', uid: uidOf(lease.pod), name: lease.pod.metadata.name, env, devices, devicePaths });
  }

  #refuse(lease: Lease, tell: (message: LeaseMessage) => void, reason: string, message: string): void {
    // As with pods, the event carries the admission's own reason.
    this.#services.events.record(podReference(lease.pod), 'Warning', reason as EventReason, message);
    tell({ type: 'refused', reason, message });
  }

  /** Whoever was granted devices and never says for which process does not keep them. */
  #expectProcess(lease: Lease, signal: AbortSignal): void {
    const { clock } = this.#services;
    const endUnlessAttached = (): void => {
      if (!lease.isAttached) void lease.finish(undefined);
    };
    clock.setTimeout(endUnlessAttached, ATTACH_WITHIN_MS);
    const onAbort = (): void => {
      clock.setTimeout(endUnlessAttached, ATTACH_WITHIN_AFTER_ABORT_MS);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  }

  #find(uid: string): Lease {
    const lease = this.#leases.get(uid);
    if (lease === undefined) throw notFound(uid);
    return lease;
  }
}

function manifestOf(request: LeaseRequest): unknown {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: request.name ?? `lease-${randomSuffix()}`, annotations: { [LEASE_ANNOTATION]: 'true' } },
    spec: {
      restartPolicy: 'Never',
      containers: [
        {
          name: 'lease',
          command: [...request.command],
          resources: {
            limits: Object.fromEntries(Object.entries(request.limits).map(([name, n]) => [name, String(n)])),
          },
        },
      ],
    },
  };
}

function notFound(uid: string): DevmgrError {
  return new DevmgrError('NOT_FOUND', `there is no lease with uid "${uid}"`);
}
