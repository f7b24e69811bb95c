import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DevmgrError } from '@devmgr/core';

/** The directory the kubelet uses, and the one nearly every plugin has compiled in. */
export const KUBELET_ROOT_DIR = '/var/lib/kubelet';

/**
 * Run by `sh` inside fresh mount (and user) namespaces: `sh -c SCRIPT devmgr ROOT COMMAND…`. Makes ROOT appear as /var/lib/kubelet and becomes
 * COMMAND. Nothing is created on the machine for it: where /var/lib/kubelet does not exist, /var/lib is replaced, for these namespaces alone, by
 * a tmpfs that has the real entries bound into it. That tmpfs is built on a directory below ROOT, because a mount needs some existing
 * directory to stand on, and then moved; ROOT is bound without what is mounted below it, so the building site does not show.
 */
const SETUP_SCRIPT = `
set -e
root=$1; shift
# -n: no entry in /run/mount/utab, which only the machine's root may write.
if [ -d ${KUBELET_ROOT_DIR} ]; then
  mount -n --rbind "$root" ${KUBELET_ROOT_DIR}
else
  site=$root/devmgr
  mount -n -t tmpfs -o mode=0755 devmgr "$site"
  for entry in /var/lib/* /var/lib/.[!.]* /var/lib/..?*; do
    name=\${entry##*/}
    if [ -L "$entry" ]; then cp -P "$entry" "$site/$name" || :
    elif [ -d "$entry" ]; then mkdir "$site/$name"; mount -n --rbind "$entry" "$site/$name" || :
    elif [ -e "$entry" ]; then : > "$site/$name"; mount -n --bind "$entry" "$site/$name" || :
    fi
  done
  mkdir "$site/kubelet"
  mount -n --bind "$root" "$site/kubelet"
  mount -n --move "$site" /var/lib
fi
exec "$@"
`;

/** Directories plugins look for below the kubelet's root; made beforehand so that a plugin may start before the manager. */
const SUBDIRECTORIES = ['device-plugins', 'plugins_registry', 'devmgr'];

/**
 * The command line that runs `command` where /var/lib/kubelet is `rootDir`; the command itself when it is that already.
 * Creates the root directory when it is missing. Throws USER_NAMESPACE_UNAVAILABLE where the system forbids it, saying
 * what it said.
 */
export function withKubeletView(rootDir: string, command: readonly string[]): readonly string[] {
  createRootDir(rootDir);
  if (rootDir === KUBELET_ROOT_DIR) return command;
  const asRoot = process.geteuid?.() === 0;
  // Slave: what is mounted on the machine later shows inside, what is mounted inside never shows outside.
  const namespaces = asRoot ? ['--mount', '--propagation', 'slave'] : ['--user', '--map-root-user', '--mount'];
  const view = [...namespaces, '--', '/bin/sh', '-c', SETUP_SCRIPT, 'devmgr', rootDir];
  const probe = spawnSync('unshare', [...view, 'true'], { encoding: 'utf8', timeout: 30_000 });
  if (probe.error !== undefined || probe.status !== 0) throw unavailable(probe, rootDir);
  return ['unshare', ...view, ...command];
}

function createRootDir(rootDir: string): void {
  try {
    for (const name of SUBDIRECTORIES) mkdirSync(join(rootDir, name), { recursive: true, mode: 0o755 });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DevmgrError('ROOT_DIR_UNUSABLE', `${rootDir}: ${why}`, { cause: error });
  }
}

function unavailable(probe: ReturnType<typeof spawnSync>, rootDir: string): DevmgrError {
  const alternatives =
    `Run it as root; or allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, ` +
    `kernel.apparmor_restrict_unprivileged_userns); or start plugin and manager with --root-dir ${KUBELET_ROOT_DIR} as root; ` +
    `or start the plugin yourself with its own flag for the directory, if it has one: ${join(rootDir, 'device-plugins')}.`;
  if (probe.error !== undefined && (probe.error as NodeJS.ErrnoException).code === 'ENOENT') {
    return new DevmgrError('USER_NAMESPACE_UNAVAILABLE', 'the command "unshare" (util-linux) is not installed', {
      cause: probe.error,
      remedy: `Install util-linux. Otherwise: ${alternatives}`,
    });
  }
  const said = String(probe.stderr).trim().split('\n').at(-1) ?? '';
  const why = said === '' ? (probe.error?.message ?? `unshare ended with ${String(probe.status)}`) : said;
  return new DevmgrError(
    'USER_NAMESPACE_UNAVAILABLE',
    `the system does not allow a private view of ${KUBELET_ROOT_DIR}: ${why}`,
    {
      remedy: alternatives,
    },
  );
}
