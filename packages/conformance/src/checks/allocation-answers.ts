import { stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import type { Stats } from 'node:fs';
import { isQualifiedName } from '@devmgr/core';
import { containerAnswers, type ContainerAnswer } from '../bench/allocations.ts';
import type { Bench } from '../bench/bench.ts';
import { moot, type Check, type Outcome } from '../check.ts';
import { each } from './each.ts';

/** What containers are handed: device nodes, mounts, environment, annotations. */
export const ALLOCATION_ANSWER_CHECKS: readonly Check[] = [
  {
    id: 'allocation/device-paths-absolute',
    level: 'quick',
    severity: 'error',
    title: 'The paths of device nodes are absolute.',
    why: "A runtime takes them as they are, in a directory that is not the plugin's. (CRI: Device)",
    remedy: 'Fill in both host_path and container_path, from the root.',
    run: (bench) =>
      judgeDevices(
        bench,
        ({ hostPath, containerPath }) =>
          isAbsolute(hostPath) && isAbsolute(containerPath)
            ? undefined
            : `${JSON.stringify(hostPath)} in the container at ${JSON.stringify(containerPath)}`,
        'absolute paths',
        'a path of a device node is not absolute',
      ),
  },
  {
    id: 'allocation/device-nodes-exist',
    level: 'quick',
    severity: 'error',
    title: 'Every device node that Allocate hands out exists on the host.',
    why: 'The runtime opens it when it creates the container; a missing one fails the container with a message about a path. (CRI: Device.host_path)',
    remedy: 'Send host paths as the host has them, and stop listing devices whose node is gone.',
    run: (bench) =>
      judgeFiles(
        bench,
        deviceHostPaths,
        (file, path) => (file === undefined ? `${path} does not exist` : undefined),
        'the nodes exist',
        'a device node does not exist',
      ),
  },
  {
    id: 'allocation/device-nodes-are-devices',
    level: 'quick',
    severity: 'error',
    title: 'What Allocate hands out as device nodes are device nodes.',
    why: 'A runtime refuses any other file in that place, with "not a device node". (runc: device list)',
    remedy: 'Hand out files and directories as mounts.',
    run: (bench) =>
      judgeFiles(
        bench,
        deviceHostPaths,
        (file, path) =>
          file === undefined || file.isCharacterDevice() || file.isBlockDevice() || file.isDirectory()
            ? undefined
            : `${path} is no device node`,
        'they are device nodes',
        'something else than a device node',
      ),
  },
  {
    id: 'allocation/device-permissions',
    level: 'quick',
    severity: 'error',
    title: 'The permissions of a device node are some of r, w and m.',
    why: 'A runtime refuses other letters, and an empty text gives no access at all. (device plugin API: DeviceSpec.permissions)',
    remedy: 'Send "rw"; add "m" only for containers that make device nodes themselves.',
    run: (bench) =>
      judgeDevices(
        bench,
        ({ hostPath, permissions }) =>
          /^[rwm]{1,3}$/.test(permissions) && new Set(permissions).size === permissions.length
            ? undefined
            : `${hostPath}: permissions ${JSON.stringify(permissions)}`,
        'some of r, w and m',
        'permissions that no runtime knows',
      ),
  },
  {
    id: 'allocation/mount-paths-absolute',
    level: 'quick',
    severity: 'error',
    title: 'The paths of mounts are absolute.',
    why: 'A runtime takes them as they are and refuses a relative one. (CRI: Mount)',
    remedy: 'Fill in both host_path and container_path, from the root.',
    run: (bench) =>
      judgeAnswers(
        bench,
        ({ answer }) => answer.mounts,
        ({ hostPath, containerPath }) =>
          isAbsolute(hostPath) && isAbsolute(containerPath)
            ? undefined
            : `${JSON.stringify(hostPath)} in the container at ${JSON.stringify(containerPath)}`,
        'absolute paths',
        'a path of a mount is not absolute',
        'no mounts were handed out',
      ),
  },
  {
    id: 'allocation/mounts-exist',
    level: 'quick',
    severity: 'error',
    title: 'Every host path that Allocate mounts exists.',
    why: 'A runtime fails the container over a missing one, or makes an empty directory of it. (CRI: Mount.host_path)',
    remedy: 'Make the file or directory before answering, or leave out the mount.',
    run: (bench) =>
      judgeFiles(
        bench,
        mountHostPaths,
        (file, path) => (file === undefined ? `${path} does not exist` : undefined),
        'what is mounted exists',
        'a host path to be mounted does not exist',
      ),
  },
  {
    id: 'allocation/no-path-twice',
    level: 'quick',
    severity: 'warning',
    title: 'No two things are put at the same path of a container.',
    why: 'A kubelet keeps the first and drops the other with a line in its log. (kubelet: device manager, container options)',
    remedy: 'Choose container paths by device, or put what several devices share into the answer once.',
    run: (bench) =>
      judgeAnswers(
        bench,
        (given) => [given],
        ({ answer }) => {
          const places = new Map<string, string>();
          for (const { containerPath, hostPath } of [...answer.devices, ...answer.mounts]) {
            const other = places.get(containerPath);
            if (other !== undefined && other !== hostPath) return `${containerPath}: ${other} and ${hostPath}`;
            places.set(containerPath, hostPath);
          }
          return undefined;
        },
        'a path each',
        'two things at one path',
        '',
      ),
  },
  {
    id: 'allocation/environment-names',
    level: 'quick',
    severity: 'error',
    title: 'Names of environment variables can be set.',
    why: 'An empty name, or one with "=" or NUL in it, cannot be handed to a process; the container fails to start. (POSIX: environment variables)',
    remedy: 'Use capital letters, digits and "_"; map ids that have other characters.',
    run: (bench) =>
      judgeAnswers(
        bench,
        ({ answer }) => [...answer.envs],
        ([name, value]) =>
          name === '' || /[=\0]/.test(name) || value.includes('\0')
            ? `${JSON.stringify(name)}=${JSON.stringify(value)}`
            : undefined,
        'names that can be set',
        'a name that no process can be given',
        'no variables were handed out',
      ),
  },
  {
    id: 'allocation/environment-names-portable',
    level: 'quick',
    severity: 'warning',
    title: 'Names of environment variables can be read by a shell.',
    why: 'A shell drops names with other characters than letters, digits and "_", or a leading digit: scripts never see them. (POSIX: shell, name)',
    remedy: 'Replace every other character by "_".',
    run: (bench) =>
      judgeAnswers(
        bench,
        ({ answer }) => [...answer.envs.keys()],
        (name) =>
          name === '' || /[=\0]/.test(name) || /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? undefined : JSON.stringify(name),
        'portable names',
        'a name that a shell cannot read',
        'no variables were handed out',
      ),
  },
  {
    id: 'allocation/annotation-keys',
    level: 'quick',
    severity: 'warning',
    title: 'Keys of annotations are qualified names.',
    why: 'Runtimes and their hooks look annotations up by such names; Kubernetes allows no other on its objects. (Kubernetes: IsQualifiedName)',
    remedy: 'Use a key like vendor.example/device: a domain, one slash, up to 63 characters.',
    run: (bench) =>
      judgeAnswers(
        bench,
        ({ answer }) => [...answer.annotations.keys()],
        (key) => (isQualifiedName(key.toLowerCase()) ? undefined : JSON.stringify(key)),
        'qualified names',
        'a key that is no qualified name',
        'no annotations were handed out',
      ),
  },
];

type GivenDevice = ContainerAnswer['answer']['devices'][number];

async function judgeAnswers<T>(
  bench: Bench,
  pick: (answer: ContainerAnswer) => readonly T[],
  complain: (thing: T) => string | undefined,
  whenGood: string,
  whenBad: string,
  whenNone: string,
): Promise<Outcome> {
  const things = (await containerAnswers(bench)).flatMap(pick);
  if (things.length === 0) return moot(whenNone);
  return each(things, complain).outcome(whenGood, whenBad);
}

function judgeDevices(
  bench: Bench,
  complain: (device: GivenDevice) => string | undefined,
  whenGood: string,
  whenBad: string,
): Promise<Outcome> {
  return judgeAnswers(
    bench,
    ({ answer }) => answer.devices,
    complain,
    whenGood,
    whenBad,
    'no device nodes were handed out',
  );
}

interface HostPaths {
  readonly none: string;
  readonly of: (answer: ContainerAnswer) => readonly string[];
}

const deviceHostPaths: HostPaths = {
  none: 'no device nodes were handed out',
  of: ({ answer }) => answer.devices.map(({ hostPath }) => hostPath),
};

const mountHostPaths: HostPaths = {
  none: 'no mounts were handed out',
  of: ({ answer }) => answer.mounts.map(({ hostPath }) => hostPath),
};

/** Looks at files as the plugin sees them; relative paths are the business of another check. */
async function judgeFiles(
  bench: Bench,
  paths: HostPaths,
  complain: (file: Stats | undefined, path: string) => string | undefined,
  whenGood: string,
  whenBad: string,
): Promise<Outcome> {
  const wanted = [...new Set((await containerAnswers(bench)).flatMap(paths.of))].filter((path) => isAbsolute(path));
  if (wanted.length === 0) return moot(paths.none);
  const files = await Promise.all(
    wanted.map(async (path) => ({ path, file: await stat(bench.plugin?.seenAs(path) ?? path).catch(() => undefined) })),
  );
  return each(files, ({ path, file }) => complain(file, path)).outcome(whenGood, whenBad);
}
