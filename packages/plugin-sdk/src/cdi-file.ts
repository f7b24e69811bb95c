import { join } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import { cdiDocument } from './cdi-spec.ts';
import type { CdiSpec } from './cdi-spec.ts';
import { cdiDevice } from './container-response.ts';
import type { ResponsePiece } from './container-response.ts';
import { removeDurably, writeDurably } from './durable-file.ts';

export interface CdiFileOptions {
  /** Where runtimes look. Default: `/var/run/cdi`, for files that are made while the machine runs. */
  readonly dir?: string | undefined;
  /** Default: made from the kind, `example.com-gpu.json`. Two files must not name the same device. */
  readonly fileName?: string | undefined;
  /** Remove the file on `close`. Default: false, since containers that are started again need it. */
  readonly removeOnClose?: boolean | undefined;
}

/** A CDI spec file in place. */
export interface CdiFile {
  readonly path: string;
  /** Replaces the content; runtimes see the old or the new, never a part. The kind stays. Rejects and changes nothing when it is not valid. */
  update(spec: CdiSpec): Promise<void>;
  /** What `allocate` answers for these devices. Throws PLUGIN_INVALID for a name that is not in the file: no runtime would find it. */
  device(...names: readonly string[]): ResponsePiece[];
  /** Removes the file if that was asked for. */
  close(): Promise<void>;
}

/**
 * Checks a CDI spec and writes it where container runtimes find it.
 *
 * Rejects with PLUGIN_INVALID when the spec is wrong, and with the system's error when it cannot be written.
 */
export async function writeCdiFile(spec: CdiSpec, options: CdiFileOptions = {}): Promise<CdiFile> {
  const { dir = '/var/run/cdi', removeOnClose = false } = options;
  const { kind } = spec;
  const fileName = options.fileName ?? `${kind.replaceAll('/', '-')}.json`;
  // Runtimes read nothing else. (CDI specification: file names)
  if (!/^[^/\0]+\.(json|yaml)$/.test(fileName) || fileName.startsWith('.')) {
    throw new DevmgrError(
      'PLUGIN_INVALID',
      `CDI spec ${JSON.stringify(kind)}: ${JSON.stringify(fileName)} is no name for a spec file`,
      {
        remedy: 'Call it NAME.json, without a directory.',
      },
    );
  }
  const path = join(dir, fileName);
  let names = new Set<string>();
  const write = async (next: CdiSpec): Promise<void> => {
    if (next.kind !== kind) {
      throw new DevmgrError('PLUGIN_INVALID', `${path} is about ${kind}; ${next.kind} needs a file of its own`);
    }
    await writeDurably(path, `${JSON.stringify(cdiDocument(next), null, 2)}\n`, 0o644);
    names = new Set(next.devices.map(({ name }) => name));
  };
  await write(spec);
  let last: Promise<unknown> = Promise.resolve();
  return {
    path,
    update: (next) => {
      const written = last.then(() => write(next));
      last = written.catch(() => undefined); // The one who asked for it hears of it.
      return written;
    },
    device: (...wanted) =>
      wanted.map((name) => {
        if (names.has(name)) return cdiDevice(`${kind}=${name}`);
        throw new DevmgrError('PLUGIN_INVALID', `${path} has no device ${JSON.stringify(name)}`);
      }),
    close: async () => {
      await last;
      if (removeOnClose) await removeDurably(path);
    },
  };
}
