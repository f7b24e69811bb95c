import type { Command } from 'commander';
import { createContext, note, print } from '../context.ts';
import { readManifests, type PodManifest } from '../manifest-files.ts';
import { collect, newCommand } from '../new-command.ts';
import { DevmgrError } from '@devmgr/core';

/** `devmgr apply -f FILE`: pods as the manifests say; what is there already stays as it is. */
export function applyCommand(): Command {
  return newCommand('apply', 'create the pods of manifests; what is there already is left alone', [
    { command: 'devmgr apply -f pod.yaml', purpose: 'v1 Pod manifests, several documents and lists too' },
    { command: 'devmgr apply -f pods/', purpose: 'every .yaml, .yml and .json file of a directory' },
    { command: 'generate | devmgr apply -f -', purpose: 'from standard input' },
  ])
    .requiredOption('-f, --filename <file>', 'file, directory, or - for standard input; may be repeated', collect)
    .option('-n, --namespace <name>', 'namespace of manifests that name none (default: "default")')
    .action(async (options: { filename: readonly string[]; namespace?: string }, command: Command) => {
      const manifests = await readManifests(options.filename);
      for (const manifest of manifests) checkNamespace(manifest, options.namespace);
      const manager = await createContext(command).manager();
      let failure: DevmgrError | undefined;
      for (const { namespace, manifest, source } of manifests) {
        try {
          const { pod, outcome } = await manager.applyPod(namespace ?? options.namespace ?? 'default', manifest);
          print(`pod/${pod.metadata.name} ${outcome}\n`);
        } catch (error) {
          // The others are applied all the same, as kubectl does; the first failure is the command's.
          if (!(error instanceof DevmgrError) || error.code === 'MANAGER_UNREACHABLE') throw error;
          const named = new DevmgrError(error.code, withSource(source, error.message), {
            cause: error,
            remedy: error.remedy,
          });
          if (failure === undefined) failure = named;
          else note(`error: ${named.message}`);
        }
      }
      if (failure !== undefined) throw failure;
    });
}

function withSource(source: string, message: string): string {
  return message.startsWith(source) ? message : `${source}: ${message}`;
}

/** A manifest that names another namespace than `-n` is a contradiction, as for kubectl. */
function checkNamespace({ namespace, source }: PodManifest, wanted: string | undefined): void {
  if (wanted === undefined || namespace === undefined || namespace === wanted) return;
  throw new DevmgrError('USAGE', `${source}: metadata.namespace is "${namespace}", and -n says "${wanted}"`, {
    remedy: 'Leave one of the two out.',
  });
}
