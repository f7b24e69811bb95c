import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import {
  checkResourceName,
  DevmgrError,
  goQuote,
  MAX_NUMA_NODE,
  type NumaNode,
  parseTopologyOptions,
  TOPOLOGY_POLICIES,
  TOPOLOGY_SCOPES,
  type TopologyOptions,
  type TopologyPolicy,
  type TopologyScope,
} from '@devmgr/core';
import { LineCounter, isMap, isScalar, isSeq, parseDocument, type Node as YamlNode } from 'yaml';
import { z } from 'zod';
import { DEFAULT_RELEASE_RULES, type ReleaseRules } from './release-keeper.ts';

/** How the daemon is to run. Durations in milliseconds. docs/configuration.md explains each setting. */
export interface DaemonConfig {
  readonly rootDir: string;
  /** Directory of pod manifests to follow. */
  readonly manifestsDir?: string;
  readonly runtime: 'process';
  readonly nodeName: string;
  /** `host:port` of the read-only TCP listener; none by default. */
  readonly listen?: string;
  /** 0 to 2, as the number of `-v` flags. */
  readonly verbosity: number;
  readonly maxReceiveBytes: number;
  readonly waitForPluginMs: number;
  readonly stoppedPluginGraceMs: number;
  readonly pluginCallTimeoutMs: number;
  readonly unknownResources: 'reject' | 'ignore';
  readonly resources: ReadonlyMap<string, ResourceConfig>;
  readonly topology: TopologyConfig;
}

/** How NUMA nodes are respected. */
export interface TopologyConfig {
  readonly policy: TopologyPolicy;
  readonly scope: TopologyScope;
  readonly options: TopologyOptions;
  /** Directory with another machine's sysfs tree to read the nodes from. */
  readonly numaFrom?: string;
  /** The nodes themselves, instead of reading them. */
  readonly numaNodes?: readonly NumaNode[];
}

/** Settings of one resource. */
export interface ResourceConfig {
  /** Known before its plugin was ever seen: a pod that asks for it waits. */
  readonly expected: boolean;
  readonly pluginCallTimeoutMs?: number;
  /** How devices that were given back are released. */
  readonly release: ReleaseRules;
  /** Command to run before each start of a container that has devices of it. */
  readonly beforeUse?: readonly string[];
}

const DURATION_UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Parses `500ms`, `30s`, `1m30s`, `2h` (Go's notation, whole numbers) to milliseconds; undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d+(ms|s|m|h))+$/.test(text)) return undefined;
  let totalMs = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+)(ms|s|m|h)/g))
    totalMs += Number(amount) * (DURATION_UNITS_MS[unit ?? ''] ?? 0);
  return Number.isSafeInteger(totalMs) ? totalMs : undefined;
}

const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, Ki: 1024, Mi: 1024 ** 2, Gi: 1024 ** 3 };

const duration = z.string().transform((text, context) => {
  const parsed = parseDuration(text);
  if (parsed === undefined)
    context.addIssue({ code: 'custom', message: `"${text}" is not a duration such as 500ms, 30s or 5m` });
  return parsed ?? 0;
});

const size = z.union([z.number().int().positive().transform(String), z.string()]).transform((text, context) => {
  const match = /^(\d+)(Ki|Mi|Gi|)$/.exec(text);
  const bytes = Number(match?.[1]) * (SIZE_UNITS[match?.[2] ?? ''] ?? 1);
  if (match === null || bytes < 1024 || bytes > 2 ** 31 - 1) {
    context.addIssue({ code: 'custom', message: `"${text}" is not a size between 1Ki and 2Gi such as 256Mi` });
  }
  return bytes;
});

const resourceName = z.string().superRefine((name, context) => {
  const checked = checkResourceName(name);
  if (!checked.ok) context.addIssue({ code: 'custom', message: checked.message });
});

const listen = z
  .string()
  .regex(/^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$/, 'must be HOST:PORT, for example 127.0.0.1:9876');

/** One of a fixed set, refused in the kubelet's words. */
const word = <const T extends readonly [string, ...string[]]>(kind: string, words: T) =>
  z.enum(words, { error: ({ input }) => `unknown ${kind}: ${goQuote(String(input))}; one of ${words.join(', ')}` });

const numaNodes = z
  .array(
    z.strictObject({
      id: z
        .number()
        .int()
        .refine((id) => id >= 0 && id <= MAX_NUMA_NODE, 'bit number must be in range 0-63'),
      distances: z.array(z.number().int().positive()).optional(),
    }),
  )
  .min(1)
  .superRefine((nodes, context) => {
    const ids = nodes.map(({ id }) => id);
    for (const [index, { id, distances }] of nodes.entries()) {
      if (ids.indexOf(id) !== index)
        context.addIssue({ code: 'custom', path: [index, 'id'], message: `node ${String(id)} is there twice` });
      if (distances !== undefined && distances.length !== nodes.length)
        context.addIssue({
          code: 'custom',
          path: [index, 'distances'],
          message: `must have one number for each of the ${String(nodes.length)} nodes, in ascending order of their ids`,
        });
    }
  });

/** A program with its arguments. */
const hookCommand = z
  .array(
    z.string().refine((word) => !word.includes('\0'), 'must not contain a NUL character'),
    'must be a list: the program, then its arguments; no shell is involved',
  )
  .min(1, 'must name a program')
  .refine(([program = '']) => program !== '' && (program.startsWith('/') || !program.includes('/')), {
    path: [0],
    message: 'must be an absolute path, or a name that is looked up in PATH',
  });

const positiveDuration = duration.refine((ms) => ms > 0, 'must be longer than nothing');

const fileSchema = z.strictObject({
  manifests: z.string().min(1).optional(),
  runtime: z.literal('process', 'must be "process", the only runtime of this version').optional(),
  nodeName: z
    .string()
    .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'must be a DNS name in lower case')
    .max(253)
    .optional(),
  listen: listen.optional(),
  verbosity: z.number().int().min(0).max(2).optional(),
  maxReceiveSize: size.optional(),
  waitForPlugin: duration.optional(),
  stoppedPluginGrace: duration.optional(),
  pluginCallTimeout: duration.optional(),
  unknownResources: z.enum(['reject', 'ignore']).optional(),
  resources: z
    .record(
      resourceName,
      z.strictObject({
        expected: z.boolean().optional(),
        pluginCallTimeout: duration.optional(),
        onRelease: hookCommand.optional(),
        beforeUse: hookCommand.optional(),
        hookTimeout: positiveDuration.optional(),
        releaseTimeout: positiveDuration.optional(),
        releaseBackOff: positiveDuration.optional(),
        releaseBackOffMax: positiveDuration.optional(),
        quarantineAfter: z.number().int().positive().optional(),
      }),
    )
    .optional(),
  topologyPolicy: word('policy', TOPOLOGY_POLICIES).optional(),
  topologyScope: word('scope', TOPOLOGY_SCOPES).optional(),
  topologyOptions: z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean()]).transform(String), 'must be names with values')
    .optional(),
  numaFrom: z.string().min(1).optional(),
  numaNodes: numaNodes.optional(),
});

/** What flags and environment may set; the same names as in the file, plus the root directory. */
export interface ConfigSources {
  readonly rootDir: string;
  /** Path of a YAML or JSON file. */
  readonly file?: string;
  /** Values of flags under the file's names; they win over the file. */
  readonly flags?: Readonly<Record<string, unknown>>;
}

/** Puts the configuration together: defaults, then the file, then flags. Throws CONFIG_INVALID naming place and remedy. */
export function loadConfig(sources: ConfigSources): DaemonConfig {
  const fromFile = sources.file === undefined ? {} : readConfigFile(sources.file);
  const flags = fileSchema.safeParse(withoutUndefined(sources.flags ?? {}));
  if (!flags.success) {
    const issue = flags.error.issues[0];
    throw new DevmgrError(
      'CONFIG_INVALID',
      `flag ${flagName(String(issue?.path[0] ?? ''))}: ${issue?.message ?? 'is not valid'}`,
    );
  }
  const merged = {
    ...fromFile,
    ...withoutUndefined(flags.data),
    resources: { ...fromFile.resources, ...flags.data.resources },
  };
  const resources = new Map<string, ResourceConfig>();
  for (const [name, settings] of Object.entries(merged.resources)) {
    const { expected, pluginCallTimeout, beforeUse } = settings;
    resources.set(name, {
      expected: expected ?? true,
      ...(pluginCallTimeout === undefined ? {} : { pluginCallTimeoutMs: pluginCallTimeout }),
      release: releaseRules(settings),
      ...(beforeUse === undefined ? {} : { beforeUse }),
    });
  }
  return {
    rootDir: resolve(sources.rootDir),
    ...(merged.manifests === undefined ? {} : { manifestsDir: resolve(merged.manifests) }),
    runtime: merged.runtime ?? 'process',
    nodeName:
      merged.nodeName ??
      (hostname()
        .toLowerCase()
        .replaceAll(/[^-a-z0-9.]/g, '-') ||
        'localhost'),
    ...(merged.listen === undefined ? {} : { listen: merged.listen }),
    verbosity: merged.verbosity ?? 0,
    maxReceiveBytes: merged.maxReceiveSize ?? 256 * 1024 * 1024,
    waitForPluginMs: merged.waitForPlugin ?? 5 * 60_000,
    stoppedPluginGraceMs: merged.stoppedPluginGrace ?? 5 * 60_000,
    pluginCallTimeoutMs: merged.pluginCallTimeout ?? 30_000,
    unknownResources: merged.unknownResources ?? 'reject',
    resources,
    topology: topologyConfig(fromFile, flags.data),
  };
}

type FileSettings = z.infer<typeof fileSchema>;

function releaseRules(settings: NonNullable<FileSettings['resources']>[string]): ReleaseRules {
  const { onRelease, hookTimeout, releaseTimeout, releaseBackOff, releaseBackOffMax, quarantineAfter } = settings;
  const defaults = DEFAULT_RELEASE_RULES;
  return {
    ...(onRelease === undefined ? {} : { onRelease }),
    hookTimeoutMs: hookTimeout ?? defaults.hookTimeoutMs,
    releaseTimeoutMs: releaseTimeout ?? defaults.releaseTimeoutMs,
    releaseBackOffMs: releaseBackOff ?? defaults.releaseBackOffMs,
    releaseBackOffMaxMs: releaseBackOffMax ?? defaults.releaseBackOffMaxMs,
    quarantineAfter: quarantineAfter ?? defaults.quarantineAfter,
  };
}

function topologyConfig(file: FileSettings, flags: FileSettings): TopologyConfig {
  const policy = flags.topologyPolicy ?? file.topologyPolicy ?? 'none';
  const given = { ...file.topologyOptions, ...flags.topologyOptions };
  // Without a policy nobody looks at the options. (kubelet: topology manager, NewManager)
  const parsed = parseTopologyOptions(new Map(policy === 'none' ? [] : Object.entries(given)));
  if (!parsed.ok) throw new DevmgrError('CONFIG_INVALID', `topologyOptions: ${parsed.message}`);
  if (file.numaFrom !== undefined && file.numaNodes !== undefined)
    throw new DevmgrError('CONFIG_INVALID', 'numaFrom and numaNodes both say which NUMA nodes there are; give one');
  const numaFrom = flags.numaFrom ?? file.numaFrom;
  return {
    policy,
    scope: flags.topologyScope ?? file.topologyScope ?? 'container',
    options: parsed.options,
    ...(numaFrom === undefined ? {} : { numaFrom: resolve(numaFrom) }),
    ...(file.numaNodes === undefined || numaFrom !== undefined
      ? {}
      : {
          numaNodes: file.numaNodes.map(({ id, distances }) => (distances === undefined ? { id } : { id, distances })),
        }),
  };
}

function readConfigFile(path: string): z.output<typeof fileSchema> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new DevmgrError(
      'CONFIG_INVALID',
      `${path}: cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const broken = document.errors[0];
  if (broken !== undefined) {
    const { line, col } = lines.linePos(broken.pos[0]);
    throw new DevmgrError(
      'CONFIG_INVALID',
      `${path}:${String(line)}:${String(col)}: ${broken.message.split('\n')[0]?.replace(/ at line.*$/, '') ?? ''}`,
    );
  }
  const parsed = fileSchema.safeParse(document.toJS({ maxAliasCount: 100 }) ?? {});
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const at =
    issue === undefined ? [] : issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path;
  const why = (issue?.code === 'invalid_key' ? issue.issues[0]?.message : issue?.message) ?? 'is not valid';
  const offset = offsetOf(document.contents, at, issue?.code === 'unrecognized_keys' || issue?.code === 'invalid_key');
  const place =
    offset === undefined ? '' : `:${String(lines.linePos(offset).line)}:${String(lines.linePos(offset).col)}`;
  throw new DevmgrError('CONFIG_INVALID', `${path}${place}: ${at.map(String).join('.')}: ${why}`);
}

/** Where the value at `path` stands in the text; the key when `atKey`, or as far as the path could be followed. */
function offsetOf(root: YamlNode | null, path: readonly PropertyKey[], atKey: boolean): number | undefined {
  let node: unknown = root;
  let offset = root?.range?.[0];
  for (const [index, step] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && item.key.value === step);
      if (pair === undefined) return offset;
      const place = (atKey && index === path.length - 1) || pair.value === null ? pair.key : pair.value;
      offset = (place as YamlNode).range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node) && typeof step === 'number') {
      node = node.items[step];
      offset = (node as YamlNode | undefined)?.range?.[0] ?? offset;
    } else return offset;
  }
  return offset;
}

function flagName(key: string): string {
  return `--${key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function withoutUndefined<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>;
}
