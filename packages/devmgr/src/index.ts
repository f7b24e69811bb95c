/** The command line as a library: the command tree and how to run it. */
export { runCommandLine } from './command-line.ts';
export { createProgram } from './program.ts';
