import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';

/** Where runtimes look for specs: static ones, then those made at run time. (CDI: specification, file locations) */
const SPEC_DIRECTORIES = ['/etc/cdi', '/var/run/cdi', '/run/cdi'];

/** One spec file, as far as it could be understood. */
export interface CdiSpecFile {
  readonly path: string;
  /** `vendor.example/class`; undefined when it does not say. */
  readonly kind: string | undefined;
  readonly devices: readonly string[];
  /** What a runtime would not accept; empty when nothing. */
  readonly problems: readonly string[];
}

const KIND = /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\/[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$/;
const DEVICE = /^[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$/;

/** Whether a text is a qualified CDI name, `vendor.example/class=device`. (CDI: specification) */
export function isCdiName(name: string): boolean {
  const at = name.indexOf('=');
  return at > 0 && KIND.test(name.slice(0, at)) && DEVICE.test(name.slice(at + 1));
}

/** Reads all spec files. `seenAs` gives the name under which a path is found. */
export async function readCdiSpecs(seenAs: (path: string) => string): Promise<readonly CdiSpecFile[]> {
  const specs = new Map<string, CdiSpecFile>();
  for (const directory of SPEC_DIRECTORIES) {
    const names = await readdir(seenAs(directory)).catch(() => []);
    for (const name of names.filter((one) => /\.(json|ya?ml)$/.test(one))) {
      const content = await readFile(seenAs(join(directory, name)), 'utf8').catch(() => undefined);
      // /var/run is /run nearly everywhere: the same file once.
      if (content !== undefined) specs.set(`${name}\n${content}`, readSpec(join(directory, name), content));
    }
  }
  return [...specs.values()];
}

function readSpec(path: string, content: string): CdiSpecFile {
  let value: unknown;
  try {
    value = parse(content);
  } catch (error) {
    const [why] = (error instanceof Error ? error.message : String(error)).split('\n');
    return { path, kind: undefined, devices: [], problems: [`neither JSON nor YAML: ${why ?? ''}`] };
  }
  if (!isRecord(value)) return { path, kind: undefined, devices: [], problems: ['not an object'] };
  const problems: string[] = [];
  const { cdiVersion, kind, devices } = value;
  if (typeof cdiVersion !== 'string' || !/^\d+\.\d+\.\d+$/.test(cdiVersion)) {
    problems.push(`cdiVersion is ${JSON.stringify(cdiVersion)}, not a version like "0.6.0"`);
  }
  if (typeof kind !== 'string' || !KIND.test(kind))
    problems.push(`kind is ${JSON.stringify(kind)}, not like vendor.example/class`);
  const listed: unknown[] = Array.isArray(devices) ? devices : [];
  if (listed.length === 0) problems.push('it has no devices');
  const names = listed.map((device) => (isRecord(device) ? device['name'] : undefined));
  for (const [index, device] of listed.entries()) {
    const name = names[index];
    if (typeof name !== 'string' || !DEVICE.test(name))
      problems.push(`device ${String(index)} has the name ${JSON.stringify(name)}`);
    else if (names.indexOf(name) !== index) problems.push(`the device ${name} is there twice`);
    if (!isRecord(device) || !isRecord(device['containerEdits']))
      problems.push(`device ${String(index)} has no containerEdits`);
  }
  return {
    path,
    kind: typeof kind === 'string' ? kind : undefined,
    devices: names.filter((name) => typeof name === 'string'),
    problems,
  };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
