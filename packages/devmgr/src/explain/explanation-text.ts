import {
  nodeSetText,
  someIds,
  type ExplainedPlacement,
  type ExplainedHolder,
  type ExplainedRequest,
  type ExplainedResource,
  type Explanation,
} from '@devmgr/core';
import { ageOf } from '../output/age.ts';
import { Description } from '../output/description.ts';
import { NONE } from '../output/table.ts';

const OUTCOMES: Readonly<Record<ExplainedRequest['outcome'], string>> = {
  Given: 'Given',
  Fits: 'Fits',
  Refused: 'Refused',
  Failed: 'Failed after the choice',
  NotReached: 'Not reached',
  Waiting: 'Waits for its plugin',
  Ignored: 'Ignored: not registered',
};

const VERDICTS: Readonly<Record<NonNullable<Explanation['verdict']>, string>> = {
  Admitted: 'Admitted',
  Refused: 'Refused',
  Waiting: 'Waiting',
  WouldFit: 'Would fit',
  WouldWait: 'Would wait',
  WouldBeRefused: 'Would be refused',
};

export interface ExplanationTextOptions {
  readonly nowMs: number;
  /** All rules of all requests, all ids. */
  readonly wide: boolean;
}

/** An explanation as people read it: the verdict and why, then what was tried, who holds what, and what would help. */
export function explanationText(explanation: Explanation, options: ExplanationTextOptions): string {
  const { pod, reason, message, summary, requests, advice, source } = explanation;
  const description = new Description();
  if (pod !== null) description.field('Pod', `${pod.namespace}/${pod.name}`);
  const verdict = verdictOf(explanation, options.nowMs);
  if (verdict !== undefined) description.field('Verdict', reason === null ? verdict : `${verdict}: ${reason}`);
  if (message !== null) description.field('Message', message);
  description.field(verdict === undefined ? 'Content' : 'Why', summary);
  if (advice.length > 0)
    description.list('What helps', advice.length === 1 ? advice : advice.map((text) => `- ${text}`));
  if (requests.length > 0) {
    description
      .section(pod === null ? 'Asked' : 'Asked, in the order of serving')
      .table(requestRows(requests, pod !== null, options));
  }
  for (const request of requests) {
    if (!options.wide && request.outcome !== 'Refused' && request.outcome !== 'Failed') continue;
    describeRules(description, request, pod !== null);
  }
  for (const placement of explanation.topology?.decisions ?? []) {
    if (options.wide || !placement.admitted) describePlacement(description, placement, pod !== null);
  }
  for (const { resource, holders, outcome } of requests) {
    if (holders.length > 0 && source === 'admission' && outcome !== 'Waiting') {
      description.section(`Held when it was refused, ${resource}`).table(holderRows(holders, options));
    }
  }
  describeResources(description, explanation, options);
  return description.toString();
}

function verdictOf({ verdict, decidedAt }: Explanation, nowMs: number): string | undefined {
  if (verdict === null) return undefined;
  return decidedAt === null ? VERDICTS[verdict] : `${VERDICTS[verdict]} ${ageOf(decidedAt, nowMs)} ago`;
}

function requestRows(
  requests: readonly ExplainedRequest[],
  named: boolean,
  options: ExplanationTextOptions,
): string[][] {
  const header = ['Resource', 'Asked', 'Listed', 'Healthy', 'Held', 'Free', 'Outcome', 'Devices'];
  return [
    named ? ['Container', ...header] : header,
    ...requests.map(({ container, kind, resource, asked, counts, outcome, refusedBy, deviceIds, holders }) => [
      ...(named ? [kind === 'app' ? container : `${container} (${kind})`] : []),
      resource,
      String(asked),
      ...[counts?.listed, counts?.healthy, counts?.held, counts?.free].map((count) => String(count ?? '-')),
      refusedBy === null ? outcomeWords(outcome, holders) : `${OUTCOMES[outcome]} by "${refusedBy}"`,
      ids(deviceIds, options),
    ]),
  ];
}

function outcomeWords(outcome: ExplainedRequest['outcome'], holders: readonly ExplainedHolder[]): string {
  const releasing = outcome === 'Waiting' && holders.some((holder) => holder.releasing === true);
  return releasing ? 'Waits for a release' : OUTCOMES[outcome];
}

function describeRules(description: Description, request: ExplainedRequest, named: boolean): void {
  const { resource, container, rules, affinity } = request;
  if (rules.length === 0) return;
  const whose = named ? ` of container ${container}` : '';
  const where = affinity === null ? '' : `, on NUMA nodes ${affinity.join(',')} by the topology hint`;
  description
    .section(`Rules tried for ${resource}${whose}${where}`)
    .table([['Rule', 'Outcome', 'Found'], ...rules.map(({ rule, outcome, sentence }) => [rule, outcome, sentence])]);
}

/** What one decision of the topology policy rests on. */
function describePlacement(description: Description, placement: ExplainedPlacement, named: boolean): void {
  const { policy, container, admitted, resources, merged, sentence } = placement;
  const whose = !named ? '' : container === null ? ', the pod as a whole' : `, container ${container}`;
  // single-numa-node has no hint where no node is left; the other policies then have all nodes, not preferred.
  const found =
    merged.preferred || merged.numaNodes !== null
      ? `${nodeSetText(merged.numaNodes)}, ${merged.preferred ? 'preferred' : 'not preferred'}`
      : 'no single node';
  description
    .section(`Topology policy ${policy}${whose}`)
    .table([
      ['Resource', 'Asked', 'Preferred NUMA nodes', 'Other NUMA nodes'],
      ...resources.map((hints) => [hints.resource, String(hints.asked), ...placesOf(hints)]),
    ])
    .field('Merged', found, 1)
    .field(admitted ? 'Admitted' : 'Refused', sentence, 1);
}

/** The places of one resource: those that are preferred, and the others. */
function placesOf({ hints, hintCount }: ExplainedPlacement['resources'][number]): [string, string] {
  if (hints === null) return ['any', NONE];
  const texts = (wanted: boolean): string[] =>
    hints.filter(({ preferred }) => preferred === wanted).map(({ numaNodes }) => nodeSetText(numaNodes));
  const preferred = texts(true);
  const others = texts(false);
  return [
    someIds(preferred) || NONE,
    // The narrowest come first, and only they are preferred: what was left out is among the others.
    someIds(others, hintCount - preferred.length) || NONE,
  ];
}

function describeResources(description: Description, explanation: Explanation, options: ExplanationTextOptions): void {
  const { resources, source, requests, topology } = explanation;
  if (resources.length === 0) return;
  const when = source === 'checkpoint' ? 'In the file' : 'Now';
  const free = options.wide ? ['Free devices'] : [];
  const plugin = source === 'checkpoint' ? [] : ['Plugin'];
  description
    .section(when)
    .table([
      ['Resource', 'Listed', 'Healthy', 'Held', 'Reserved', 'Free', ...plugin, 'Unhealthy devices', ...free],
      ...resources.map((resource) => [
        resource.name,
        ...[resource.listed, resource.healthy, resource.held, resource.reserved, resource.free].map(String),
        ...plugin.map(() => (resource.plugin === null ? NONE : resource.plugin.state)),
        unhealthyOf(resource, source === 'checkpoint' ? 'held, not healthy' : 'vanished', options),
        ...free.map(() => someIds(resource.freeIds, resource.free) || NONE),
      ]),
    ]);
  const shares = resources.flatMap(({ name, numa }) => numa.map((share) => ({ name, ...share })));
  if ((topology !== null || options.wide) && shares.some(({ numaNodes }) => numaNodes.length > 0)) {
    description.section(
      topology === null ? 'By NUMA node' : `By NUMA node (policy ${topology.policy}, scope ${topology.scope})`,
    );
    description.table([
      ['Resource', 'NUMA nodes', 'Listed', 'Free'],
      ...shares.map(({ name, numaNodes, listed, free }) => [
        name,
        numaNodes.join(',') || NONE,
        String(listed),
        String(free),
      ]),
    ]);
  }
  for (const { name, holders } of resources) {
    const before = requests.find(({ resource, outcome }) => resource === name && outcome === 'Refused')?.holders ?? [];
    const rows = holderRows(holders, options);
    // Told above already, when nothing has changed since.
    if (holders.length === 0 || (source === 'admission' && sameRows(rows, holderRows(before, options)))) continue;
    description.section(`Held ${source === 'checkpoint' ? 'in the file' : 'now'}, ${name}`).table(rows);
  }
}

/** Ids that are listed and not healthy, and those that are held and not listed. */
function unhealthyOf(resource: ExplainedResource, unlisted: string, options: ExplanationTextOptions): string {
  const { unhealthyIds, vanishedIds, listed, healthy } = resource;
  const unhealthy = options.wide ? unhealthyIds.join(', ') : someIds(unhealthyIds, listed - healthy);
  const vanished = vanishedIds.length === 0 ? '' : `${ids(vanishedIds, options)} (${unlisted})`;
  return [unhealthy, vanished].filter((text) => text !== '').join(', ') || NONE;
}

function holderRows(holders: readonly ExplainedHolder[], options: ExplanationTextOptions): string[][] {
  return [
    ['Pod', 'Container', 'Devices'],
    ...holders.map(({ pod, container, deviceIds }) => [pod, container, ids(deviceIds, options)]),
  ];
}

function sameRows(a: readonly (readonly string[])[], b: readonly (readonly string[])[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function ids(list: readonly string[], { wide }: ExplanationTextOptions): string {
  return (wide ? list.join(', ') : someIds(list)) || NONE;
}
