import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import { readTextFile, unreadable } from './text-file.ts';

/** One pod of a manifest file. */
export interface PodManifest {
  /** File and document, for messages. */
  readonly source: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly manifest: unknown;
}

/**
 * The manifests of files, directories (their .yaml, .yml and .json files in order of name) and `-` for standard input.
 * Only their syntax is checked here: the manager judges the pods. Throws MANIFEST_INVALID naming file, line and column, NOT_FOUND for a
 * file that is not there, USAGE when there is nothing in them.
 */
export async function readManifests(paths: readonly string[]): Promise<readonly PodManifest[]> {
  const manifests: PodManifest[] = [];
  for (const path of paths) {
    for (const file of await expand(path)) manifests.push(...(await readOne(file)));
  }
  if (manifests.length === 0) {
    throw new DevmgrError('MANIFEST_INVALID', `there is no manifest in ${paths.join(', ')}`, {
      remedy: 'Give files with v1 Pod manifests.',
    });
  }
  return manifests;
}

async function expand(path: string): Promise<readonly string[]> {
  if (path === '-') return [path];
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const names = await readdir(path);
    return names
      .filter((name) => /\.(ya?ml|json)$/i.test(name) && !name.startsWith('.'))
      .sort()
      .map((name) => join(path, name));
  } catch (error) {
    throw unreadable(path, error, 'MANIFEST_INVALID');
  }
}

async function readOne(path: string): Promise<readonly PodManifest[]> {
  const source = path === '-' ? 'standard input' : path;
  const text = await readTextFile(path, 'MANIFEST_INVALID');
  const { parseManifests } = await import('@devmgr/manager/client');
  const parsed = parseManifests(text, source);
  if (!parsed.ok) throw new DevmgrError('MANIFEST_INVALID', parsed.errors[0]?.message ?? `${source}: cannot be read`);
  return parsed.manifests.map(({ apiVersion, kind, object, place }) => {
    if (apiVersion !== 'v1' || kind !== 'Pod') {
      throw new DevmgrError(
        'MANIFEST_INVALID',
        `${place}: devmgr runs v1 Pods, and this is a ${kind} of ${apiVersion}`,
        {
          remedy: 'Give Pods; a Deployment or DaemonSet needs a cluster.',
        },
      );
    }
    const { namespace, name } = metadataOf(object);
    return { source: place, namespace, name, manifest: object };
  });
}

function metadataOf(manifest: unknown): { namespace: string | undefined; name: string | undefined } {
  const metadata = property(manifest, 'metadata');
  const text = (key: string): string | undefined => {
    const value = property(metadata, key);
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  return { namespace: text('namespace'), name: text('name') };
}

function property(object: unknown, key: string): unknown {
  return typeof object === 'object' && object !== null ? (object as Record<string, unknown>)[key] : undefined;
}
