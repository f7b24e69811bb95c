import type { Answer } from './side.ts';
import type { Scenario, Step } from './scenario.ts';

/** Where two answers to one step differ. */
export interface Difference {
  readonly scenario: Scenario;
  readonly index: number;
  readonly step: Step;
  readonly kubelet: Answer;
  readonly devmgr: Answer;
}

/** A difference that is meant: documented, and accepted in exactly the form that `covers` describes. */
export interface Rule {
  readonly name: string;
  /** One line for the report. */
  readonly what: string;
  /** The kubelet's answer as it would be if it did what devmgr does, as far as this rule goes; undefined when the rule has nothing to say. */
  accept(difference: Difference): Answer | undefined;
  /** From here on both sides hold different pods: nothing after it is compared. */
  readonly ends?: boolean;
}

type Health = number | Readonly<Record<string, string | number>>;

/** Deliberate differences; each has its row in docs/differential.md. */
export const RULES: readonly Rule[] = [
  {
    name: 'refused-pod-holds-nothing',
    what: 'the kubelet leaves a refused pod what its earlier containers and resources were given until garbage collection',
    accept: ({ kubelet, devmgr }) =>
      kubelet['admit'] === false &&
      devmgr['admit'] === false &&
      isEmpty(devmgr['devices']) &&
      !isEmpty(kubelet['devices'])
        ? { ...kubelet, devices: {} }
        : undefined,
  },
  {
    name: 'nothing-is-not-raised',
    what: 'after a refused pod the kubelet raises a missing allocatable to 0, though nothing of the resource was given',
    accept: ({ scenario, index, step, kubelet, devmgr }) => {
      if (step.do !== 'sanitize') return undefined;
      const theirs = kubelet['allocatable'] as Readonly<Record<string, number>> | undefined;
      const ours = devmgr['allocatable'] as Readonly<Record<string, number>> | undefined;
      if (theirs === undefined || ours === undefined) return undefined;
      const wanted = new Set(
        scenario.steps
          .slice(0, index)
          .flatMap((before) =>
            before.do === 'admit' ? [...(before.pod.initContainers ?? []), ...(before.pod.containers ?? [])] : [],
          )
          .flatMap(({ limits = {} }) => Object.keys(limits)),
      );
      const rest = Object.entries(theirs).filter(
        ([resource, count]) => !(count === 0 && !(resource in ours) && wanted.has(resource)),
      );
      return { ...kubelet, allocatable: Object.fromEntries(rest) };
    },
  },
  {
    name: 'resources-in-written-order',
    what: 'the kubelet takes the resources of a container in random order, so which of several fails first is chance',
    accept: ({ step, scenario, kubelet, devmgr }) => {
      if (step.do === 'options' && kubelet['error'] !== undefined && devmgr['error'] !== undefined)
        return scenario.plugins.length > 1 ? devmgr : undefined;
      const pod = step.do === 'admit' ? step.pod : undefined;
      const several = [...(pod?.initContainers ?? []), ...(pod?.containers ?? [])].some(
        ({ limits = {} }) => Object.keys(limits).length > 1,
      );
      if (step.do === 'readmit' ? scenario.plugins.length < 2 : !several) return undefined;
      if (kubelet['admit'] !== false || devmgr['admit'] !== false) return undefined;
      return { ...kubelet, message: devmgr['message'], reason: devmgr['reason'], calls: devmgr['calls'] };
    },
  },
  {
    name: 'stopped-endpoint',
    what: 'where the plugin is away, the kubelet prints its connection object with addresses in memory',
    accept: ({ kubelet, devmgr }) =>
      /endpoint &\{.*\} has been stopped/u.test(String(kubelet['error'])) &&
      String(devmgr['error']).startsWith('endpoint not found in cache for a registered resource: ')
        ? { ...kubelet, error: devmgr['error'] }
        : undefined,
  },
  {
    name: 'prestart-remembered',
    what: 'after a restart the kubelet skips PreStartContainer until the plugin is back; here the start fails and is tried again',
    accept: ({ scenario, step, kubelet, devmgr }) =>
      step.do === 'options' &&
      kubelet['options'] !== undefined &&
      scenario.plugins.some(
        ({ preStart, resource }) =>
          preStart && devmgr['error'] === `endpoint not found in cache for a registered resource: ${resource}`,
      )
        ? devmgr
        : undefined,
  },
  {
    name: 'zero-always-succeeds',
    what: 'a limit of 0 asks nobody for anything; the kubelet refuses it while no device is healthy',
    accept: ({ step, kubelet, devmgr }) =>
      step.do === 'admit' &&
      devmgr['admit'] === true &&
      /^Allocate failed due to (no healthy devices present|cannot allocate unregistered device)/u.test(
        String(kubelet['message']),
      ) &&
      [...(step.pod.initContainers ?? []), ...(step.pod.containers ?? [])].some(({ limits = {} }) =>
        Object.entries(limits).some(
          ([resource, count]) => count === '0' && String(kubelet['message']).includes(resource),
        ),
      )
        ? devmgr
        : undefined,
  },
  {
    name: 'empty-topology-is-none',
    what: 'a device with a topology that names no node counts as one without; the kubelet finds no place for it when an init container leaves it to be used again',
    ends: true,
    accept: ({ scenario, index, step, kubelet, devmgr }) =>
      step.do === 'admit' &&
      (step.pod.initContainers ?? []).length > 0 &&
      kubelet['reason'] === 'TopologyAffinityError' &&
      devmgr['reason'] !== 'TopologyAffinityError' &&
      scenario.steps
        .slice(0, index)
        .some((before) => 'devices' in before && before.devices.some(({ numa }) => numa?.length === 0))
        ? devmgr
        : undefined,
  },
  {
    name: 'kubelet-crashes',
    what: 'hints for a pod that holds a device which is not listed any more make the kubelet read where nothing is (nil dereference)',
    ends: true,
    accept: ({ scenario, step, kubelet, devmgr }) =>
      scenario.machine.policy !== 'none' &&
      step.do === 'readmit' &&
      kubelet['crashed'] === 'panic: runtime error: invalid memory address or nil pointer dereference'
        ? devmgr
        : undefined,
  },
  {
    name: 'status-unknown',
    what: 'health of a device whose plugin is away, or which is not listed any more, is Unknown; the kubelet repeats the last word, or says Healthy',
    accept: ({ kubelet, devmgr }) => {
      if (kubelet['status'] === undefined || devmgr['status'] === undefined) return undefined;
      const theirs = kubelet['status'] as readonly (readonly [string, Readonly<Record<string, Health>>])[];
      const ours = devmgr['status'] as readonly (readonly [string, Readonly<Record<string, Health>>])[];
      return {
        ...kubelet,
        status: theirs.map(([container, resources], index) => [
          container,
          Object.fromEntries(
            Object.entries(resources).map(([resource, health]) => [
              resource,
              unknownAs(health, ours[index]?.[1][resource]),
            ]),
          ),
        ]),
      };
    },
  },
  {
    name: 'updates-for-vanished',
    what: 'pods whose devices vanish or whose plugin goes away are told of it; by the kubelet they are not',
    accept: ({ kubelet, devmgr }) => {
      const theirs = kubelet['updates'] as readonly string[] | undefined;
      const ours = devmgr['updates'] as readonly string[] | undefined;
      if (theirs === undefined || ours === undefined) return undefined;
      return theirs.every((uid) => ours.includes(uid)) ? { ...kubelet, updates: ours } : undefined;
    },
  },
];

/** The kubelet's health with Unknown wherever devmgr says so, and everything else as it was. */
function unknownAs(theirs: Health, ours: Health | undefined): Health {
  if (typeof ours !== 'object' || typeof theirs !== 'object') return theirs;
  const byCount = Object.values(theirs).every((value) => typeof value === 'number');
  if (!byCount) {
    return Object.fromEntries(
      Object.entries(theirs).map(([id, health]) => [id, ours[id] === 'Unknown' ? 'Unknown' : health]),
    );
  }
  const total = (health: object): number =>
    Object.values(health).reduce<number>((all, count) => all + Number(count), 0);
  return ours['Unknown'] !== undefined && total(theirs) === total(ours) ? ours : theirs;
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}
