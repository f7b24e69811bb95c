import { containerAnswers } from '../bench/allocations.ts';
import type { Bench } from '../bench/bench.ts';
import { isCdiName, readCdiSpecs } from '../bench/cdi-specs.ts';
import { moot, type Check } from '../check.ts';
import { each } from './each.ts';

/** Annotations with this in front carry names too, separated by commas. (CDI: annotations) */
const ANNOTATION_PREFIX = 'cdi.k8s.io/';

/** What containers are handed by name of the Container Device Interface. */
export const CDI_CHECKS: readonly Check[] = [
  {
    id: 'allocation/cdi-names',
    level: 'quick',
    severity: 'error',
    title: 'CDI names are qualified: vendor.example/class=device.',
    why: 'A runtime resolves no other and fails the container. (CDI: specification, qualified names)',
    remedy:
      'Join the kind of your spec and the device name by "="; map ids that have other characters than letters, digits and "_.:-".',
    async run(bench) {
      const names = await cdiNames(bench);
      if (names.length === 0) return moot('no CDI devices were handed out');
      return each(names, (name) => (isCdiName(name) ? undefined : JSON.stringify(name))).outcome(
        'qualified names',
        'a CDI name that no runtime resolves',
      );
    },
  },
  {
    id: 'allocation/cdi-spec-exists',
    level: 'quick',
    severity: 'error',
    title: 'A CDI spec on the host defines every device that Allocate names.',
    why: 'A runtime fails the container over a name it cannot resolve. (CDI: specification, injection)',
    remedy: 'Write the spec to /var/run/cdi before you list the device; to a temporary name first, then rename it.',
    async run(bench) {
      const names = (await cdiNames(bench)).filter(isCdiName);
      if (names.length === 0) return moot('no CDI devices were handed out');
      const specs = await specsOf(bench);
      // Files that a runtime would refuse are the business of another check, as long as one can tell what they mean.
      const defined = new Set(specs.flatMap(({ kind, devices }) => devices.map((device) => `${kind ?? ''}=${device}`)));
      const missing = names.filter((name) => !defined.has(name));
      if (missing.length > 0 && specs.some(({ kind }) => kind === undefined)) {
        return moot('a spec that cannot be read may define them');
      }
      return each(names, (name) =>
        defined.has(name) ? undefined : `${name}: in none of ${String(specs.length)} spec files`,
      ).outcome('all are defined', 'no spec defines a device that was named');
    },
  },
  {
    id: 'allocation/cdi-spec-valid',
    level: 'quick',
    severity: 'error',
    title: 'The CDI spec of a device is one that runtimes accept.',
    why: 'A file with a fault is skipped as a whole, and with it every device in it. (CDI: specification)',
    remedy: 'Write cdiVersion, kind, and devices with a name and containerEdits each.',
    async run(bench) {
      const names = (await cdiNames(bench)).filter(isCdiName);
      if (names.length === 0) return moot('no CDI devices were handed out');
      const kinds = new Set(names.map((name) => name.slice(0, name.indexOf('='))));
      const all = await specsOf(bench);
      // A file that cannot be read at all is somebody else's as long as every kind is found elsewhere.
      const found = new Set(all.map(({ kind }) => kind));
      const complete = [...kinds].every((kind) => found.has(kind));
      const specs = all.filter(({ kind }) => (kind === undefined ? !complete : kinds.has(kind)));
      if (specs.length === 0) return moot('there is no spec to look at');
      return each(specs, ({ path, problems }) =>
        problems.length === 0 ? undefined : `${path}: ${problems.join('; ')}`,
      ).outcome('the specs are valid', 'a spec that no runtime accepts');
    },
  },
];

/** Names in the field for them, and in annotations, where older runtimes look. */
async function cdiNames(bench: Bench): Promise<readonly string[]> {
  const answers = await containerAnswers(bench);
  const names = answers.flatMap(({ answer }) => [
    ...answer.cdiDevices.map(({ name }) => name),
    ...[...answer.annotations].flatMap(([key, value]) => (key.startsWith(ANNOTATION_PREFIX) ? value.split(',') : [])),
  ]);
  return [...new Set(names)];
}

function specsOf(bench: Bench): ReturnType<typeof readCdiSpecs> {
  return readCdiSpecs((path) => bench.plugin?.seenAs(path) ?? path);
}
