import { DevmgrError } from '@devmgr/core';
import type { Command } from 'commander';
import { createContext, note, print } from '../context.ts';
import { parseDuration } from '../duration.ts';
import type { ApiClient } from '@devmgr/manager';
import { readManifests } from '../manifest-files.ts';
import { collect, newCommand } from '../new-command.ts';
import { parseTarget } from '../output/kinds.ts';
import { withProgress } from '../progress.ts';
import { waitForPod } from '../wait-for-pod.ts';

interface DeleteOptions {
  readonly filename?: readonly string[];
  readonly namespace?: string;
  readonly gracePeriod?: number;
  readonly force?: boolean;
  readonly ignoreNotFound?: boolean;
  readonly wait: boolean;
  readonly timeout?: number;
}

/** `devmgr delete pod NAME…` and `delete -f FILE`: ends pods and gives their devices back. `delete release NAME --force` gives a release up. */
export function deleteCommand(): Command {
  return newCommand('delete', 'end pods and give their devices back', [
    { command: 'devmgr delete pod trainer', purpose: 'SIGTERM, SIGKILL after the grace period, devices free' },
    { command: 'devmgr delete -f pod.yaml', purpose: 'what a manifest created' },
    { command: 'devmgr delete pod trainer --force', purpose: 'without a grace period' },
    {
      command: 'devmgr delete release release-1f3c9a --force',
      purpose: 'free devices whose release cannot succeed, without it',
    },
  ])
    .argument('[target...]', 'pod NAME…, or pod/NAME; release NAME…')
    .option('-f, --filename <file>', 'file, directory, or - for standard input; may be repeated', collect)
    .option('-n, --namespace <name>', 'namespace of the pods (default: "default")')
    .option('--grace-period <seconds>', "instead of the pod's own", parseSeconds)
    .option('--force', 'no grace period; needed to give a release up')
    .option('--ignore-not-found', 'a pod that is not there is no failure')
    .option('--no-wait', 'do not wait until it is gone')
    .option('--timeout <duration>', 'how long to wait', (text) => parseDuration(text, '--timeout'))
    .action(async (target: readonly string[], options: DeleteOptions, command: Command) => {
      const releases = releasesMeant(target, options);
      if (releases !== undefined) {
        const manager = await createContext(command).manager();
        for (const name of releases) await giveUp(manager, name, options.ignoreNotFound === true);
        return;
      }
      const pods = await podsMeant(target, options);
      const manager = await createContext(command).manager();
      const gracePeriodSeconds = options.force === true ? 0 : options.gracePeriod;
      const gone: { namespace: string; name: string; uid: string | undefined }[] = [];
      for (const { namespace, name } of pods) {
        const uid = await remove(manager, namespace, name, gracePeriodSeconds, options.ignoreNotFound === true);
        if (uid !== undefined) gone.push({ namespace, name, uid });
      }
      if (!options.wait) return;
      for (const { namespace, name, uid } of gone) {
        const condition = { type: 'deleted', ...(uid === undefined ? {} : { uid }) } as const;
        await withProgress(`waiting until pod "${name}" is gone`, () =>
          waitForPod(manager, namespace, name, { condition, timeoutMs: options.timeout }),
        );
      }
    });
}

/** Names of releases, when it is them that are meant. */
function releasesMeant([first, ...rest]: readonly string[], options: DeleteOptions): readonly string[] | undefined {
  if (first === undefined || (options.filename ?? []).length > 0) return undefined;
  const { kind, names } = parseTarget(first, rest);
  if (kind !== 'release') return undefined;
  if (names.length === 0) {
    throw new DevmgrError('USAGE', 'delete release needs a name', { remedy: 'List them with "devmgr get releases".' });
  }
  if (options.force !== true) {
    throw new DevmgrError('USAGE', 'the devices would be free without having been released', {
      remedy: 'Say --force if they are fit for the next pod as they are.',
    });
  }
  return names;
}

async function giveUp(manager: ApiClient, name: string, ignoreNotFound: boolean): Promise<void> {
  try {
    await manager.deleteRelease(name);
    print(`release "${name}" deleted\n`);
  } catch (error) {
    if (!ignoreNotFound || !(error instanceof DevmgrError) || error.code !== 'NOT_FOUND') throw error;
    note(`release "${name}" is not there`);
  }
}

async function podsMeant(
  target: readonly string[],
  options: DeleteOptions,
): Promise<readonly { namespace: string; name: string }[]> {
  const [first, ...rest] = target;
  const files = options.filename ?? [];
  if ((first === undefined) === (files.length === 0)) {
    throw new DevmgrError('USAGE', 'delete needs either pods or -f', { remedy: 'See "devmgr delete --help".' });
  }
  if (first === undefined) {
    const manifests = await readManifests(files);
    return manifests.flatMap(({ namespace, name, source }) => {
      if (name === undefined) throw new DevmgrError('MANIFEST_INVALID', `${source}: metadata.name is missing`);
      return [{ namespace: namespace ?? options.namespace ?? 'default', name }];
    });
  }
  const { kind, names } = parseTarget(first, rest);
  if (kind !== 'pod') {
    throw new DevmgrError('USAGE', `a ${kind} cannot be deleted`, {
      remedy: 'Only pods and releases can; resources and devices go with their plugin.',
    });
  }
  if (names.length === 0) {
    throw new DevmgrError('USAGE', 'delete pod needs a name', { remedy: 'List pods with "devmgr get pods".' });
  }
  return names.map((name) => ({ namespace: options.namespace ?? 'default', name }));
}

/** Returns the pod's uid, or undefined when there was none and that is fine. */
async function remove(
  manager: ApiClient,
  namespace: string,
  name: string,
  gracePeriodSeconds: number | undefined,
  ignoreNotFound: boolean,
): Promise<string | undefined> {
  try {
    const pod = await manager.deletePod(
      namespace,
      name,
      gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds },
    );
    print(`pod "${name}" deleted\n`);
    return pod.metadata.uid ?? '';
  } catch (error) {
    if (!ignoreNotFound || !(error instanceof DevmgrError) || error.code !== 'NOT_FOUND') throw error;
    note(`pod "${name}" is not there`);
    return undefined;
  }
}

function parseSeconds(text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw new DevmgrError('USAGE', `--grace-period: "${text}" is not a number of seconds`, {
    remedy: 'Give a whole number of seconds.',
  });
}
