/**
 * The rules of the ledger a second time, written for plainness: every answer is computed from scratch by going through
 * everything. Property tests hold the real ledger against it.
 */
import assert from 'node:assert/strict';
import {
  type ContainerKind,
  type Device,
  deviceIdsOf,
  Ledger,
  type ListDiff,
  type PlanStep,
  type Release,
} from '@devmgr/core';

export const RESOURCES = ['example.com/a', 'example.com/b'] as const;
export const PODS = ['p1', 'p2', 'p3'] as const;
export const CONTAINERS: readonly (readonly [string, ContainerKind])[] = [
  ['init1', 'init'],
  ['init2', 'init'],
  ['side', 'sidecar'],
  ['app1', 'app'],
  ['app2', 'app'],
];
const KINDS = new Map(CONTAINERS);

interface Wish {
  readonly podUid: string;
  readonly container: string;
  readonly kind: ContainerKind;
  readonly resource: string;
  readonly count: number;
  readonly affinity: ReadonlySet<number> | null;
}

interface OpenPlan {
  readonly wish: Wish;
  readonly plan: ReturnType<Ledger['plan']>;
  preferred: readonly string[] | undefined;
  ids: readonly string[];
  allocating: boolean;
}

/** Natural order by other means than the product's. */
const byNature = new Intl.Collator('en', { numeric: true });
const sorted = (ids: Iterable<string>): string[] => [...ids].sort((a, b) => byNature.compare(a, b));

/** A real ledger and what it must say, moved forward together. */
export class ModelledLedger {
  ledger = new Ledger();
  readonly #lists = new Map<string, Map<string, Device>>();
  readonly #registered = new Set<string>();
  /** `pod container resource` to ids. */
  readonly #book = new Map<string, ReadonlySet<string>>();
  readonly #settled = new Map<string, Set<string>>();
  /** By id, in the order in which they began. */
  readonly #releases = new Map<string, Release>();
  #open: OpenPlan[] = [];
  #version = 0;
  /** What came about, to see that random stories are not dull. */
  readonly seen = { commits: 0, reuses: 0, preferences: 0, replacements: 0, releases: 0, returns: 0 };

  list(resource: string, devices: readonly Device[]): void {
    const before = this.#lists.get(resource) ?? new Map<string, Device>();
    const now = new Map(devices.map((device) => [device.id, device]));
    const diff = this.ledger.replaceDevices(resource, devices);
    const known = this.#registered.has(resource);
    this.#registered.add(resource);
    this.#lists.set(resource, now);
    this.#checkDiff(resource, before, now, diff, known);
  }

  /** The same list but for one device's health. */
  flip(resource: string, id: string, health: string): void {
    const list = this.#lists.get(resource);
    if (list === undefined) return;
    this.list(
      resource,
      [...list.values()].map((device) => (device.id === id ? { ...device, health } : device)),
    );
  }

  /** The same list without one device. */
  vanish(resource: string, id: string): void {
    const list = this.#lists.get(resource);
    if (list === undefined) return;
    this.list(
      resource,
      [...list.values()].filter((device) => device.id !== id),
    );
  }

  disconnect(resource: string): void {
    const before = this.#lists.get(resource) ?? new Map<string, Device>();
    const now = new Map([...before.values()].map((device) => [device.id, { ...device, health: 'Unknown' }]));
    const diff = this.ledger.markAllUnhealthy(resource);
    if (this.#lists.has(resource)) this.#lists.set(resource, now);
    this.#checkDiff(resource, before, now, diff, true);
  }

  know(resource: string): void {
    this.ledger.knowResource(resource);
    this.#registered.add(resource);
  }

  forget(resource: string): void {
    this.ledger.forgetResource(resource);
    if (this.#registered.delete(resource)) this.#lists.delete(resource);
  }

  open(wish: Wish): void {
    this.#open.push({ wish, plan: this.ledger.plan(wish), preferred: undefined, ids: [], allocating: false });
  }

  /** A container from start to settled, the plugin preferring these ids if any. */
  admit(wish: Wish, prefers: readonly string[] | null): void {
    this.open(wish);
    const index = this.#open.length - 1;
    this.next(index, prefers !== null);
    if (this.#open.length === index + 1 && prefers !== null) {
      this.answer(index, prefers);
      this.next(index, true);
    }
    if (this.#open.length === index + 1) this.commit(index);
    this.settle(wish.podUid, wish.container);
  }

  next(index: number, offers: boolean): void {
    const open = this.#pick(index);
    if (open === undefined) return;
    const expected = this.#expect(open, offers);
    const step = open.plan.next(offers);
    assert.deepEqual(withoutRule(step), expected);
    if (step.step === 'reject' || step.step === 'nothing') {
      this.#open = this.#open.filter((other) => other !== open);
      return;
    }
    const ids = step.step === 'allocate' ? step.deviceIds : step.mustInclude;
    if (step.step === 'prefer') this.seen.preferences += 1;
    if (open.ids.some((id) => !ids.includes(id))) this.seen.replacements += 1;
    open.ids = ids;
    open.allocating = step.step === 'allocate';
  }

  answer(index: number, ids: readonly string[]): void {
    const open = this.#pick(index);
    if (open === undefined) return;
    open.preferred = ids;
    open.plan.answer(ids);
  }

  commit(index: number): void {
    const open = this.#pick(index);
    if (open?.allocating !== true) return;
    const { podUid, container, resource } = open.wish;
    const key = `${podUid} ${container} ${resource}`;
    if (open.ids.some((id) => this.#releaseOf(resource, id) !== undefined)) {
      // The pod was retired while the plugin was asked to let it take over devices of its own.
      assert.throws(() => open.plan.commit(new Uint8Array()), /given back meanwhile/);
      open.plan.release();
    } else if (this.#book.has(key)) {
      assert.throws(() => open.plan.commit(new Uint8Array()), /has a record/);
      open.plan.release();
    } else {
      this.seen.commits += 1;
      if (open.ids.some((id) => this.#holders(resource, id).length > 0)) this.seen.reuses += 1;
      const allocation = open.plan.commit(new Uint8Array([1]));
      this.#book.set(key, new Set(open.ids));
      for (const id of open.ids) {
        const nodes = this.#lists.get(resource)?.get(id)?.numaNodes ?? [];
        for (const node of nodes.length === 0 ? [-1] : nodes) assert.ok(allocation.deviceIds.get(node)?.includes(id));
      }
      open.plan.release();
    }
    this.#open = this.#open.filter((other) => other !== open);
  }

  release(index: number): void {
    const open = this.#pick(index);
    if (open === undefined) return;
    open.plan.release();
    this.#open = this.#open.filter((other) => other !== open);
  }

  settle(podUid: string, container: string): void {
    const kind = KINDS.get(container) ?? 'app';
    this.ledger.settleContainer(podUid, container, kind);
    if (kind === 'init') this.#settled.set(podUid, (this.#settled.get(podUid) ?? new Set()).add(container));
  }

  dropReuse(podUid: string): void {
    this.ledger.dropReuse(podUid);
    this.#settled.delete(podUid);
  }

  releasePod(podUid: string): void {
    const keys = [...this.#book.keys()].filter((key) => key.startsWith(`${podUid} `));
    const released = this.ledger.releasePod(podUid);
    assert.deepEqual(released.map(keyOf).sort(), keys.sort());
    for (const key of keys) this.#book.delete(key);
    this.#settled.delete(podUid);
  }

  /** The pod is over, and its devices of these resources wait for a hook. */
  retirePod(podUid: string, hooked: readonly string[]): void {
    const entries = [...this.#book].filter(([key]) => key.startsWith(`${podUid} `));
    const { freed, releases } = this.ledger.retirePod(podUid, ({ resource, container }) => {
      if (!hooked.includes(resource)) return undefined;
      return (deviceIds) => {
        const id = `r${String(++this.seen.releases)}`;
        const rest = { podNamespace: 'default', podName: podUid, since: 0, plugin: true, lastError: '' };
        return {
          id,
          resource,
          deviceIds,
          podUid,
          container,
          ...rest,
          commandDone: false,
          attempts: 0,
          failures: 0,
          quarantined: false,
        };
      };
    });
    assert.deepEqual(freed.map(keyOf).sort(), entries.map(([key]) => key).sort());
    for (const [key] of entries) this.#book.delete(key);
    this.#settled.delete(podUid);
    // Each device once, in whatever release.
    for (const resource of hooked) {
      const held = new Set(entries.filter(([key]) => key.endsWith(` ${resource}`)).flatMap(([, ids]) => [...ids]));
      const named = releases.filter((one) => one.resource === resource).flatMap(({ deviceIds }) => deviceIds);
      assert.deepEqual(sorted(named), sorted(held));
    }
    for (const release of releases) this.#releases.set(release.id, release);
  }

  /** A hook failed, perhaps once too often. */
  failRelease(index: number, quarantined: boolean): void {
    const release = [...this.#releases.values()][index % Math.max(this.#releases.size, 1)];
    if (release === undefined) return;
    const failed = { ...release, failures: release.failures + 1, quarantined };
    this.ledger.updateRelease(failed);
    this.#releases.set(release.id, failed);
  }

  /** A hook succeeded. */
  endRelease(index: number): void {
    const release = [...this.#releases.values()][index % Math.max(this.#releases.size, 1)];
    if (release === undefined) return;
    assert.deepEqual(this.ledger.endRelease(release.id), release);
    assert.equal(this.ledger.endRelease(release.id), undefined);
    this.#releases.delete(release.id);
    this.seen.returns += 1;
  }

  #releaseOf(resource: string, id: string): Release | undefined {
    return [...this.#releases.values()].find((one) => one.resource === resource && one.deviceIds.includes(id));
  }

  /** The process ends with its open plans; another starts from what was recorded, and plugins list again. */
  restart(): void {
    const before = this.ledger.allocations();
    this.ledger = new Ledger();
    this.ledger.restore(before);
    assert.deepEqual(this.ledger.restoreReleases([...this.#releases.values()]), []);
    for (const resource of this.#registered) this.ledger.knowResource(resource);
    for (const [resource, list] of this.#lists) this.ledger.replaceDevices(resource, [...list.values()]);
    this.#open = [];
    this.#settled.clear();
    this.#version = 0;
    assert.deepEqual(this.ledger.allocations(), before);
  }

  /** Everything the ledger says, against everything there is to say. */
  check(): void {
    const { ledger } = this;
    assert.ok(ledger.version >= this.#version);
    this.#version = ledger.version;
    assert.deepEqual(new Map(ledger.allocations().map((one) => [keyOf(one), deviceIdsOf(one)])), this.#book);
    assert.deepEqual(ledger.releases(), [...this.#releases.values()]);
    const recordedOf = new Set([...this.#book.keys()].map((key) => key.split(' ')[2] ?? ''));
    for (const { resource } of this.#releases.values()) recordedOf.add(resource);
    assert.deepEqual(ledger.resourceNames(), [...new Set([...recordedOf, ...this.#registered])].sort());
    for (const resource of RESOURCES) {
      assert.equal(ledger.hasPool(resource), this.#registered.has(resource));
      assert.equal(ledger.isKnown(resource), this.#registered.has(resource) || recordedOf.has(resource));
      this.#checkResource(resource);
    }
  }

  #checkResource(resource: string): void {
    const { ledger } = this;
    const list = this.#lists.get(resource) ?? new Map<string, Device>();
    const reserved = this.#open.filter(({ wish }) => wish.resource === resource).flatMap(({ ids }) => ids);
    const held = [...this.#book].filter(([key]) => key.endsWith(` ${resource}`)).flatMap(([, ids]) => [...ids]);
    assert.equal(new Set(reserved).size, reserved.length);
    const releasing = [...this.#releases.values()].filter((one) => one.resource === resource);
    const releasingIds = releasing.flatMap(({ deviceIds }) => deviceIds);
    assert.equal(new Set(releasingIds).size, releasingIds.length);
    const all = sorted(new Set([...list.keys(), ...held, ...reserved, ...releasingIds]));
    const states = [...ledger.devices(resource)];
    assert.deepEqual(
      states.map(({ id }) => id),
      all,
    );

    const tally = {
      capacity: list.size,
      allocatable: 0,
      healthy: 0,
      allocated: new Set(held).size,
      reserved: 0,
      free: 0,
    };
    let returning = 0;
    const shares = new Map<string, { listed: number; free: number }>();
    for (const state of states) {
      const device = list.get(state.id);
      const holders = this.#holders(resource, state.id);
      assert.deepEqual(
        [state.health, state.listed, state.healthy, state.reserved],
        [device?.health ?? 'Unknown', device !== undefined, device?.health === 'Healthy', reserved.includes(state.id)],
      );
      assert.deepEqual(state.holders.map(({ podUid, container }) => `${podUid} ${container}`).sort(), holders.sort());
      assert.deepEqual(ledger.device(resource, state.id), state);
      this.#checkHands(resource, state.id, holders);
      const release = this.#releaseOf(resource, state.id);
      assert.deepEqual(state.release, release);
      if (release !== undefined) assert.equal(holders.length, 0, 'handed out before its release succeeded');
      const unclaimed = state.healthy && holders.length === 0 && !state.reserved;
      if (unclaimed && release?.quarantined === false) returning += 1;
      const free = unclaimed && release === undefined;
      if (state.healthy) tally.healthy += 1;
      if (free) tally.free += 1;
      if (state.reserved && holders.length === 0) tally.reserved += 1;
      if (device !== undefined) {
        const nodes = [...device.numaNodes].sort().join();
        const share = shares.get(nodes) ?? { listed: 0, free: 0 };
        shares.set(nodes, { listed: share.listed + 1, free: share.free + (free ? 1 : 0) });
      }
    }
    tally.allocatable = tally.healthy;
    assert.deepEqual(ledger.releasing(resource), { devices: releasingIds.length, returning });
    assert.deepEqual(
      ledger.capacity(resource),
      this.#registered.has(resource) ? { ...tally, unhealthy: list.size - tally.healthy } : undefined,
    );
    const real = new Map(ledger.numaShares(resource).map(({ numaNodes, ...share }) => [numaNodes.join(), share]));
    assert.deepEqual(real, shares);
    assert.deepEqual(
      ledger.healthyIds(resource),
      all.filter((id) => list.get(id)?.health === 'Healthy'),
    );
  }

  /** One pod at most; in it, of the holders and whoever has it reserved, one at most that is not an init container. */
  #checkHands(resource: string, id: string, holders: readonly string[]): void {
    const reserving = this.#open
      .filter(({ wish, ids }) => wish.resource === resource && ids.includes(id))
      .map(({ wish }) => `${wish.podUid} ${wish.container}`);
    const hands = [...holders, ...reserving].map((hand) => hand.split(' '));
    assert.ok(new Set(hands.map(([pod]) => pod)).size <= 1);
    assert.ok(hands.filter(([, container]) => KINDS.get(container ?? '') !== 'init').length <= 1);
  }

  #holders(resource: string, id: string): string[] {
    return [...this.#book]
      .filter(([key, ids]) => key.endsWith(` ${resource}`) && ids.has(id))
      .map(([key]) => key.split(' ').slice(0, 2).join(' '));
  }

  #pick(index: number): OpenPlan | undefined {
    return this.#open[index % Math.max(this.#open.length, 1)];
  }

  /** The kubelet's order of checks, on plain lists. */
  #expect({ wish, ids, preferred }: OpenPlan, offers: boolean): object {
    const { podUid, container, resource, count, affinity } = wish;
    const list = this.#lists.get(resource) ?? new Map<string, Device>();
    const healthy = (id: string): boolean => list.get(id)?.health === 'Healthy';
    const reject = (message: string): object => ({ step: 'reject', message });
    const record = this.#book.get(`${podUid} ${container} ${resource}`);
    if (record !== undefined && record.size !== count) {
      return reject(
        `pod "${podUid}" container "${container}" changed request for resource "${resource}" from ${String(record.size)} to ${String(count)}`,
      );
    }
    if (count === 0) return { step: 'nothing' };
    if (!this.#registered.has(resource)) return reject(`cannot allocate unregistered device ${resource}`);
    if (![...list.keys()].some(healthy)) {
      return reject(`no healthy devices present; cannot allocate unhealthy devices ${resource}`);
    }
    if (record !== undefined) {
      if ([...record].every(healthy)) return { step: 'nothing' };
      return reject(
        `previously allocated devices are no longer healthy; cannot allocate unhealthy devices ${resource}`,
      );
    }

    const reserved = new Set(this.#open.filter((one) => one.wish.resource === resource).flatMap((one) => one.ids));
    const releasing = (id: string): boolean => this.#releaseOf(resource, id) !== undefined;
    const chosen = new Set(ids.filter((id) => healthy(id) && !releasing(id)));
    const take = (from: readonly string[]): void => {
      for (const id of from) if (chosen.size < count) chosen.add(id);
    };
    const settled = this.#settled.get(podUid) ?? new Set();
    take(
      sorted(list.keys()).filter((id) => {
        const holders = this.#holders(resource, id).map((holder) => holder.split(' '));
        const inHandsOfInits = holders.every(([pod, name]) => pod === podUid && settled.has(name ?? ''));
        return healthy(id) && !reserved.has(id) && holders.length > 0 && inHandsOfInits;
      }),
    );
    if (chosen.size === count) return { step: 'allocate', deviceIds: sorted(chosen) };
    const available = sorted(list.keys()).filter(
      (id) =>
        healthy(id) &&
        !reserved.has(id) &&
        !chosen.has(id) &&
        !releasing(id) &&
        this.#holders(resource, id).length === 0,
    );
    const needed = count - chosen.size;
    if (available.length < needed) {
      return reject(
        `requested number of devices unavailable for ${resource}. Requested: ${String(needed)}, Available: ${String(available.length)}`,
      );
    }
    const nodesOf = (id: string): readonly number[] => list.get(id)?.numaNodes ?? [];
    const aligned = available.filter((id) => nodesOf(id).some((node) => affinity?.has(node) === true));
    const unaligned = available.filter((id) => affinity !== null && nodesOf(id).length > 0 && !aligned.includes(id));
    const among = needed < aligned.length ? aligned : available;
    if (among === available) take(aligned);
    if (chosen.size < count) {
      if (preferred !== undefined) take(preferred.filter((id) => among.includes(id)));
      else if (offers) {
        const mustInclude = sorted(chosen);
        return { step: 'prefer', available: sorted(new Set([...among, ...chosen])), mustInclude, size: count };
      }
      take(among === aligned ? aligned : unaligned);
      take(available);
    }
    return { step: 'allocate', deviceIds: sorted(chosen) };
  }

  #checkDiff(
    resource: string,
    before: ReadonlyMap<string, Device>,
    now: ReadonlyMap<string, Device>,
    diff: ListDiff,
    known: boolean,
  ): void {
    const both = [...now.keys()].filter((id) => before.has(id));
    const was = (id: string): string | undefined => before.get(id)?.health;
    const is = (id: string): string | undefined => now.get(id)?.health;
    const differ = new Set([...before.keys(), ...now.keys()].filter((id) => was(id) !== is(id)));
    const moved = both.filter((id) => before.get(id)?.numaNodes.join() !== now.get(id)?.numaNodes.join());
    const expected = {
      added: [...now.keys()].filter((id) => !before.has(id)),
      removed: [...before.keys()].filter((id) => !now.has(id)),
      becameHealthy: both.filter((id) => was(id) !== 'Healthy' && is(id) === 'Healthy'),
      becameUnhealthy: both.filter((id) => was(id) === 'Healthy' && is(id) !== 'Healthy'),
      topologyChanged: moved,
      affected: [...differ].flatMap((id) => this.#holders(resource, id).map((holder) => `${holder} ${id}`)),
      changed: !known || differ.size > 0 || moved.length > 0,
    };
    const real = {
      ...diff,
      affected: diff.affected.map((one) => `${one.podUid} ${one.container} ${one.deviceId}`),
    };
    assert.deepEqual(sortArrays(real), sortArrays(expected));
  }
}

function keyOf(one: { podUid: string; container: string; resource: string }): string {
  return `${one.podUid} ${one.container} ${one.resource}`;
}

function sortArrays(record: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(
    Object.entries(record).map(([key, value]) => [key, Array.isArray(value) ? [...(value as string[])].sort() : value]),
  );
}

function withoutRule(step: PlanStep): object {
  if (step.step !== 'reject') return step;
  return { step: 'reject', message: step.message };
}
