import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { DevmgrError, encodeCheckpoint, groupsOf, type CheckpointData, type CheckpointVersion } from '@devmgr/core';
import { Option, type Command } from 'commander';
import { readCheckpoint } from '../checkpoint/checkpoint-file.ts';
import { note } from '../context.ts';
import { newCommand } from '../new-command.ts';
import { wrongChecksum } from './checkpoint-show.ts';

interface ConvertOptions {
  readonly to: 'v1' | 'v2';
  readonly outFile?: string;
  readonly plain?: boolean;
  readonly ignoreChecksum?: boolean;
}

/** `devmgr checkpoint convert FILE`: the same content in the layout of other kubelets, with the checksum it needs. */
export function checkpointConvertCommand(): Command {
  return newCommand('convert', 'write a device checkpoint in the layout of older or newer kubelets', [
    { command: 'devmgr checkpoint convert old -O new', purpose: 'a file of kubelet 1.19 or older for newer ones' },
    { command: 'devmgr checkpoint convert FILE --plain -O plain', purpose: "without devmgr's own part" },
    {
      command: 'devmgr checkpoint convert edited --ignore-checksum -O good',
      purpose: 'sign a file again that was edited by hand',
    },
  ])
    .argument('<file>', 'kubelet_internal_checkpoint, a directory that has one, or - for standard input')
    .addOption(
      new Option('--to <version>', 'v2 groups devices by NUMA node (kubelet 1.20 and later), v1 does not')
        .choices(['v1', 'v2'])
        .default('v2'),
    )
    .option('-O, --out-file <file>', 'where to write it, replacing what is there; standard output when not given')
    .option('--plain', "leave out devmgr's own key, which kubelets ignore")
    .option('--ignore-checksum', 'take a file whose checksum is wrong')
    .action(async (path: string, options: ConvertOptions) => {
      const file = await readCheckpoint(path);
      const { data, version, extension } = file.parsed;
      if (version === undefined && options.ignoreChecksum !== true) throw wrongChecksum(file);
      const to: CheckpointVersion = options.to === 'v1' ? 1 : 2;
      const bytes = encodeCheckpoint(data, options.plain === true ? undefined : extension, to);
      if (options.outFile === undefined) process.stdout.write(bytes);
      else await writeWhole(options.outFile, bytes);
      for (const lost of losses(data, to)) note(`note: ${lost}`);
    });
}

/** What the new file does not say any more. */
function losses(data: CheckpointData, to: CheckpointVersion): readonly string[] {
  const entries = data.entries ?? [];
  const lists = entries.some(({ devices }) => Array.isArray(devices));
  const onNodes = entries.some(
    ({ devices }) => !Array.isArray(devices) && [...groupsOf(devices).keys()].some((node) => node >= 0),
  );
  const dropped = entries.filter(({ response }) => response === null).length;
  return [
    ...(to === 1 && onNodes ? ['version 1 has no NUMA nodes: on which nodes devices are is lost'] : []),
    ...(to === 2 && lists ? ['version 1 has no NUMA nodes: devices are put on node 0, as kubelets do'] : []),
    ...(dropped > 0 ? [`entries without AllocResp are left out, as kubelets do: ${String(dropped)}`] : []),
  ];
}

/** Replaces a file as a whole, readable for its owner alone. */
async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}-${randomBytes(4).toString('hex')}`);
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined);
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new DevmgrError('STATE_WRITE_FAILED', `${path}: cannot be written: ${text}`, {
      cause,
      remedy: 'Name a file in a directory you may write to with -O.',
    });
  }
}
