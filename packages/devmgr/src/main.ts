import { runCommandLine } from './command-line.ts';

// A reader that has seen enough (`devmgr get devices | head`) is no failure: leave quietly, as other tools do. What has
// something to clean up listens for SIGTERM and is ended that way.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  if (process.listenerCount('SIGTERM') === 0) process.exit(0);
  process.kill(process.pid, 'SIGTERM');
});
// Nobody reads the remarks any more: the work goes on.
process.stderr.on('error', () => undefined);

process.exitCode = await runCommandLine(process.argv);
