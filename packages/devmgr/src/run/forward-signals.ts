import { closeSync, openSync } from 'node:fs';

const FORWARDED: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'];
/** What a terminal sends to the whole foreground group by itself: the command gets these without us. */
const FROM_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT'];

/**
 * Passes signals on to a command of the same process group; returns how to stop. While this is on, none of them ends
 * this process: the command decides. With a controlling terminal Ctrl-C and Ctrl-\ reach the command directly and are
 * not sent a second time.
 */
export function forwardSignals(kill: (signal: NodeJS.Signals) => void): () => void {
  const stops: (() => void)[] = [];
  const handle = (signal: NodeJS.Signals, handler: () => void): void => {
    process.on(signal, handler);
    stops.push(() => {
      process.off(signal, handler);
    });
  };
  for (const signal of FORWARDED)
    handle(signal, () => {
      kill(signal);
    });
  const terminal = hasTerminal();
  for (const signal of FROM_TERMINAL) {
    handle(signal, () => {
      if (!terminal) kill(signal);
    });
  }
  return () => {
    for (const stop of stops) stop();
  };
}

function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}
