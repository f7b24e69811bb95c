import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Whether the good plugin in Go can be built here. */
export function hasGo(): boolean {
  return spawnSync('go', ['version']).status === 0;
}

/** Builds the good plugin in Go, and answers the path of the program. */
export function buildGoPlugin(directory: string): string {
  const program = join(directory, 'gopher');
  execFileSync('go', ['build', '-trimpath', '-ldflags', '-s -w', '-o', program, '.'], {
    cwd: fileURLToPath(new URL('go-plugin', import.meta.url)),
    env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=readonly -buildvcs=false' },
  });
  return program;
}
