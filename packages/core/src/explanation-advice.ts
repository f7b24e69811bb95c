import type { ExplainedRequest, ExplainedResource, Explanation } from './explanation.ts';
import { naturalCompare } from './natural-order.ts';

/** What an explanation knows before it is put into words. */
export type ExplanationFacts = Omit<Explanation, 'kind' | 'summary' | 'advice'> & {
  /** What would come of all of it at this moment: one wish a resource, for as much as is needed at once. */
  readonly now: readonly ExplainedRequest[];
  /** Every registered resource: what a wrong name could have meant. */
  readonly knownResources: readonly string[];
};

/** kubelet: topology manager, admission reason. */
export const TOPOLOGY_REASON = 'TopologyAffinityError';
/** Ids named in a sentence; more are counted. */
const MAX_NAMED = 8;

/** Adds the summary and what would help. */
export function concludeExplanation({ now, knownResources, ...facts }: ExplanationFacts): Explanation {
  const advice = adviceOn({ ...facts, now, knownResources });
  return { kind: 'Explanation', ...facts, summary: summaryOf(facts), advice };
}

/** `gpu-0, gpu-1 and 3 more`. */
export function someIds(ids: readonly string[], count = ids.length): string {
  const named = ids.slice(0, MAX_NAMED).join(', ');
  const more = count - Math.min(ids.length, MAX_NAMED);
  return more > 0 ? `${named} and ${String(more)} more` : named;
}

type Facts = Omit<ExplanationFacts, 'knownResources' | 'now'>;

function summaryOf(facts: Facts): string {
  const { verdict, requests, resources } = facts;
  const refused = requests.find(({ outcome }) => outcome === 'Refused');
  const failed = requests.find(({ outcome }) => outcome === 'Failed');
  switch (verdict) {
    case null:
      return `${counted(resources.length, 'resource')}, ${counted(sum(resources, 'held'), 'device')} held.`;
    case 'Admitted':
      if (requests.length === 0) return 'The pod asks for no devices.';
      return requests.every(({ deviceIds }) => deviceIds.length === 0)
        ? 'The pod was admitted without devices.'
        : `The pod has what it asks for: ${listOf(requests, ({ deviceIds, resource }) => `${someIds(deviceIds)} of ${resource}`)}.`;
    case 'WouldFit':
      if (requests.every(({ deviceIds }) => deviceIds.length === 0)) return 'It would be admitted, without devices.';
      return `It would get ${listOf(requests, ({ deviceIds, resource }) => `${someIds(deviceIds)} of ${resource}`)}.`;
    case 'Waiting':
    case 'WouldWait': {
      const waiting = requests.filter(({ outcome }) => outcome === 'Waiting').map(({ resource }) => resource);
      const whom = [...new Set(waiting)].join(', ');
      const released = [...new Set(waiting)].filter((name) => isReleasing(resources, name));
      const subject = verdict === 'Waiting' ? 'Admission waits' : 'Admission would wait';
      if (released.length > 0) return `${subject} for devices of ${released.join(', ')} that are being released.`;
      return whom === ''
        ? `${subject}.`
        : `${subject} for the device plugin of ${whom}, which is not connected or has not listed yet.`;
    }
    case 'Refused':
    case 'WouldBeRefused':
      if (refused !== undefined) return refusalOf(refused, facts);
      if (failed !== undefined) {
        return `The rules had chosen ${someIds(failed.deviceIds)} of ${failed.resource} for container ${failed.container}; what came after the choice failed.`;
      }
      return 'No rule that was recorded refused it; the message says why.';
  }
}

function refusalOf(request: ExplainedRequest, { pod, topology }: Facts): string {
  const { container, asked, resource, rules, refusedBy } = request;
  const placement = topology?.decisions.find(({ admitted }) => !admitted);
  if (refusedBy === 'topology policy' && placement !== undefined) {
    const whose = pod === null ? '' : placement.container === null ? ' the pod as a whole' : ` container ${container}`;
    return `Policy ${placement.policy} refuses${whose}: ${uncapitalized(placement.sentence)}`;
  }
  const subject = pod === null ? '' : `Container ${container} asks for `;
  const sentence = rules.find(({ outcome }) => outcome === 'refused')?.sentence;
  const why = sentence === undefined ? `The rule "${refusedBy ?? 'unknown'}" said no.` : sentence;
  return `${subject}${counted(asked, 'device')} of ${resource}: ${uncapitalized(why)}`;
}

function uncapitalized(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}

function adviceOn(facts: ExplanationFacts): readonly string[] {
  const { verdict, requests, fitsNow, reason } = facts;
  const advice: string[] = [];
  if (verdict === null || verdict === 'Admitted' || verdict === 'WouldFit') return advice;
  if (fitsNow === true) {
    advice.push('There is room now: delete the pod and apply it again. A refused pod is not tried again by itself.');
  }
  if (reason === TOPOLOGY_REASON) {
    advice.push(
      `Free devices that share a NUMA node, ask for as many as one node has, or start the manager with a less strict --topology-policy${facts.topology === null ? '' : ` (it is ${facts.topology.policy})`}.`,
    );
  }
  for (const { outcome, resource } of requests) {
    if (outcome === 'Failed') {
      advice.push(`Look at the plugin of ${resource} ("devmgr describe plugin") and at its log for that time.`);
    }
  }
  const stale = requests.find(
    ({ refusedBy }) => refusedBy === 'unchanged request' || refusedBy === 'recorded devices healthy',
  );
  if (stale !== undefined) {
    advice.push(
      `What is recorded for container ${stale.container} cannot be used as it is; a new pod is given devices anew.`,
    );
  }
  const before = advice.length;
  for (const wish of facts.now) advice.push(...adviceOnWish(wish, facts));
  if (verdict === 'Refused' && fitsNow === false && advice.length > before) {
    advice.push('Then delete the pod and apply it again: a refused pod is not tried again by itself.');
  }
  return advice;
}

function adviceOnWish(wish: ExplainedRequest, facts: ExplanationFacts): readonly string[] {
  const { outcome, resource: name } = wish;
  const resource = facts.resources.find((candidate) => candidate.name === name);
  if (outcome === 'Waiting') {
    return isReleasing(facts.resources, name) ? [lookAtReleases(name)] : [startPlugin(name, resource)];
  }
  if (outcome !== 'Refused' || wish.refusedBy === 'topology policy') return [];
  if (resource?.registered !== true) return [startPlugin(name, resource, facts.knownResources)];
  return adviceOnShortage(wish, resource, facts.source);
}

function startPlugin(name: string, resource: ExplainedResource | undefined, known?: readonly string[]): string {
  if (resource?.plugin !== null && resource?.plugin !== undefined) {
    const { state, since } = resource.plugin;
    if (state === 'Disconnected') return `Start the device plugin of ${name} again: it has been away since ${since}.`;
    return `The device plugin of ${name} is connected and has not listed its devices: look at its log.`;
  }
  if (known === undefined) return `Start the device plugin of ${name}.`;
  const others = known.filter((other) => other !== name);
  const meant = others.length === 0 ? 'no resource is registered' : `registered are ${someIds(others)}`;
  return `Start the device plugin of ${name}, or correct the name: ${meant}.`;
}

/** Its plugin is there, and devices of it come back. */
function isReleasing(resources: readonly ExplainedResource[], name: string): boolean {
  const resource = resources.find((candidate) => candidate.name === name);
  const connected = resource?.plugin?.state === 'Connected';
  return connected && resource.holders.some(({ releasing }) => releasing === true);
}

function lookAtReleases(name: string): string {
  return `Wait until devices of ${name} are released, or see what keeps them ("devmgr get releases").`;
}

/** The resource is there, and too little of it. */
function adviceOnShortage(
  { asked, resource: name }: ExplainedRequest,
  resource: ExplainedResource,
  source: Explanation['source'],
): readonly string[] {
  const { listed, healthy, free, reserved, unhealthyIds, plugin } = resource;
  if (plugin?.state === 'Disconnected') return [startPlugin(name, resource)];
  if (listed === 0) {
    return [
      source === 'checkpoint'
        ? `When the file was written no device of ${name} was healthy: look at its plugin.`
        : `The plugin of ${name} lists no device: look at its log and at the hardware.`,
    ];
  }
  const advice: string[] = [];
  const inAll = source === 'admission' ? ' in all' : '';
  const unhealthy = listed - healthy;
  if (asked > listed && source !== 'checkpoint') {
    return [`Ask for at most ${String(listed)} of ${name}${inAll}: this node has no more.`];
  }
  if (unhealthy > 0) {
    advice.push(
      `Get ${unhealthy === 1 ? 'the unhealthy device' : `the ${String(unhealthy)} unhealthy devices`} of ${name} healthy: ${someIds(unhealthyIds, unhealthy)}.`,
    );
  }
  if (reserved > 0) {
    advice.push(`Try again in a moment: ${counted(reserved, 'device')} of ${name} reserved by admissions in flight.`);
  }
  if (isReleasing([resource], name)) advice.push(lookAtReleases(name));
  const ending = podsToEnd(resource, asked - free);
  if (ending !== undefined) advice.push(ending);
  if (free > 0) advice.push(`Ask for at most ${String(free)} of ${name}${inAll}: so many are free.`);
  return advice;
}

/** The fewest pods whose end frees enough; undefined when all together would not. */
function podsToEnd(resource: ExplainedResource, missing: number): string | undefined {
  const useless = new Set([...resource.unhealthyIds, ...resource.vanishedIds]);
  const usable = new Map<string, Set<string>>();
  for (const { pod, deviceIds, releasing } of resource.holders) {
    if (releasing === true) continue;
    const ids = usable.get(pod) ?? new Set<string>();
    usable.set(pod, ids);
    for (const id of deviceIds) if (!useless.has(id)) ids.add(id);
  }
  const pods = [...usable].sort(([a, idsA], [b, idsB]) => idsB.size - idsA.size || naturalCompare(a, b));
  // One pod that is just large enough is better than the largest.
  const single = pods.filter(([, ids]) => ids.size >= missing).at(-1);
  const chosen: [string, Set<string>][] = single === undefined ? [] : [single];
  let freed = single?.[1].size ?? 0;
  for (const [pod, ids] of single === undefined ? pods : []) {
    if (freed >= missing) break;
    chosen.push([pod, ids]);
    freed += ids.size;
  }
  if (missing <= 0 || freed < missing) return undefined;
  const names = chosen.map(([pod, ids]) => `${pod} (${String(ids.size)})`);
  return `End ${someIds(names)}: then ${String(resource.free + freed)} of ${resource.name} are free.`;
}

function counted(count: number, noun: string): string {
  return `${String(count)} ${noun}${count === 1 ? '' : 's'}`;
}

function sum(resources: readonly ExplainedResource[], key: 'held'): number {
  return resources.reduce((total, resource) => total + resource[key], 0);
}

function listOf(requests: readonly ExplainedRequest[], text: (request: ExplainedRequest) => string): string {
  return requests
    .filter(({ deviceIds }) => deviceIds.length > 0)
    .map(text)
    .join('; ');
}
