/** What a container runs as a plain process: program, arguments and directory, checked before anything is started. */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, resolve } from 'node:path';
import { goQuote } from '@devmgr/core';
import type { Container } from '@devmgr/core';
import { ContainerStartError } from '../container-runtime.ts';
import type { ProcessEnvironment } from './process-environment.ts';
import { expandVariables } from './variable-expansion.ts';

export interface ProcessCommand {
  /** Absolute path of the program. */
  readonly program: string;
  readonly args: readonly string[];
  readonly workingDir: string;
}

/** Where a container without `workingDir` runs: as in an image that says nothing. */
const DEFAULT_WORKING_DIR = '/';

/**
 * `command` then `args` of the manifest with `$(NAME)` replaced. Throws {@link ContainerStartError}: CreateContainerError
 * when there is no command (there is no image whose entry point could be used), RunContainerError when the program or
 * the directory cannot be used.
 */
export function resolveProcessCommand(container: Container, environment: ProcessEnvironment): ProcessCommand {
  const expand = (text: string): string => expandVariables(text, (name) => environment.expandable.get(name));
  const [name, ...rest] = (container.command ?? []).map(expand);
  if (name === undefined || name === '') {
    throw new ContainerStartError(
      'CreateContainerError',
      `container ${goQuote(container.name)} has no command: the process runtime does not use images, so spec.containers[].command must name the program to run`,
    );
  }
  const workingDir = container.workingDir === undefined ? DEFAULT_WORKING_DIR : expand(container.workingDir);
  if (!isAbsolute(workingDir) || !isDirectory(workingDir)) {
    throw new ContainerStartError(
      'RunContainerError',
      `working directory ${goQuote(workingDir)} of container ${goQuote(container.name)} is not an existing directory with an absolute path`,
    );
  }
  const program = findProgram(name, workingDir, environment.variables.get('PATH') ?? '');
  return { program, args: [...rest, ...(container.args ?? []).map(expand)], workingDir };
}

/** A name with a slash is a path from the working directory, any other is looked up in PATH. Texts as Go's exec package has them. */
function findProgram(name: string, workingDir: string, searchPath: string): string {
  if (name.includes('/')) {
    const path = resolve(workingDir, name);
    const problem = whyNotExecutable(path);
    if (problem !== undefined) throw new ContainerStartError('RunContainerError', `exec: ${goQuote(name)}: ${problem}`);
    return path;
  }
  for (const directory of searchPath.split(delimiter)) {
    const path = resolve(workingDir, directory, name);
    if (directory !== '' && whyNotExecutable(path) === undefined) return path;
  }
  throw new ContainerStartError('RunContainerError', `exec: ${goQuote(name)}: executable file not found in $PATH`);
}

function whyNotExecutable(path: string): string | undefined {
  try {
    if (statSync(path).isDirectory()) return 'is a directory';
    accessSync(path, constants.X_OK);
    return undefined;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    return code === 'ENOENT' || code === 'ENOTDIR' ? 'no such file or directory' : 'permission denied';
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
