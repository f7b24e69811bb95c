/**
 * An AbortSignal that aborts at the first SIGINT or SIGTERM, to be given to `servePlugin`: the plugin closes and, with
 * nothing left to do, the process ends by itself with code 0. A second signal ends it at once.
 */
export function terminationSignal(): AbortSignal {
  const controller = new AbortController();
  const stop = (): void => {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
    controller.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return controller.signal;
}
