import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DevmgrError, parseCheckpoint, type ParsedCheckpoint } from '@devmgr/core';

/** A checkpoint file as it was found. */
export interface CheckpointFile {
  /** The file that was read; `standard input` for `-`. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly parsed: ParsedCheckpoint;
}

/** A file whose content has the shape of a checkpoint; its checksum may be wrong. */
export interface ReadableCheckpoint extends CheckpointFile {
  readonly parsed: Extract<ParsedCheckpoint, { ok: true }>;
}

/** Where a checkpoint may be in a directory that was named instead of it: the device plugin directory, or a root directory. */
const PLACES = ['kubelet_internal_checkpoint', 'device-plugins/kubelet_internal_checkpoint'];

/**
 * Reads a file, `-`, or the checkpoint of a directory. What is wrong with its content is part of the result.
 * NOT_FOUND, PERMISSION_DENIED, CHECKPOINT_INVALID (the file cannot be read at all).
 */
export async function loadCheckpoint(path: string): Promise<CheckpointFile> {
  const file = path === '-' ? 'standard input' : await fileOf(path);
  const bytes = await bytesOf(path === '-' ? path : file);
  const problem = problemOf(bytes);
  const parsed: ParsedCheckpoint = problem === undefined ? parseCheckpoint(bytes) : { ok: false, message: problem };
  return { path: file, sizeBytes: bytes.length, parsed };
}

/** {@link loadCheckpoint} of a file that must be a checkpoint; CHECKPOINT_INVALID saying what it is instead. */
export async function readCheckpoint(path: string): Promise<ReadableCheckpoint> {
  const { parsed, ...file } = await loadCheckpoint(path);
  if (parsed.ok) return { ...file, parsed };
  throw new DevmgrError('CHECKPOINT_INVALID', `${file.path}: ${parsed.message}`, {
    remedy:
      'Give a kubelet_internal_checkpoint, copied while nothing wrote it; the one before it may be beside it under another name.',
  });
}

async function fileOf(path: string): Promise<string> {
  try {
    if (!(await stat(path)).isDirectory()) return path;
  } catch (error) {
    throw unreadable(path, error);
  }
  for (const place of PLACES) {
    const candidate = join(path, place);
    if ((await stat(candidate).catch(() => undefined))?.isFile() === true) return candidate;
  }
  throw new DevmgrError('NOT_FOUND', `${path}: there is no checkpoint in this directory`, {
    remedy: `It is called ${PLACES[0] ?? ''} and lies in the device plugin directory, /var/lib/kubelet/device-plugins by default.`,
  });
}

async function bytesOf(path: string): Promise<Uint8Array> {
  try {
    if (path !== '-') return await readFile(path);
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks);
  } catch (error) {
    throw unreadable(path, error);
  }
}

function unreadable(path: string, cause: unknown): DevmgrError {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new DevmgrError('NOT_FOUND', `${path}: there is no such file`, { cause, remedy: 'Check the path.' });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new DevmgrError('PERMISSION_DENIED', `${path}: may not be read`, {
      cause,
      remedy: 'Kubelets write it readable for root alone: copy it as root, or run the command as root.',
    });
  }
  const text = cause instanceof Error ? cause.message : String(cause);
  return new DevmgrError('CHECKPOINT_INVALID', `${path}: ${text}`, { cause, remedy: 'Check the path.' });
}

/** What makes the content something other than a checkpoint; undefined when it may be one. */
function problemOf(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0) return 'the file is empty: nothing of it reached the disk';
  if (bytes.every((byte) => byte === 0)) {
    return `the file holds ${String(bytes.length)} zero bytes: its content was lost, as in a power cut`;
  }
  let content: unknown;
  try {
    content = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return `not JSON (${String(bytes.length)} bytes): ${text}`;
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    return 'JSON, and not a checkpoint: it must be an object';
  }
  const keys = Object.keys(content).map((key) => key.toLowerCase());
  if (keys.includes('data')) return undefined;
  return `JSON, and not the device manager's checkpoint: it has no "Data"${otherFile(keys)}`;
}

/** What the file seems to be: the kubelet keeps others beside it. */
function otherFile(keys: readonly string[]): string {
  if (keys.includes('policyname')) return ' (it looks like the state of the CPU or memory manager)';
  if (keys.includes('kind')) return ' (it looks like a Kubernetes object)';
  return '';
}
