import type { StateWriter } from './ports.ts';

export interface StateObserver {
  /** A record is on disk. */
  appended(): void;
  /** A record could not be written; `message` is the reason in one line. */
  failed(message: string): void;
}

/** The same writer; what it does is told to an observer, for metrics and events. */
export function observedState(store: StateWriter, observer: StateObserver): StateWriter {
  return {
    async append(record) {
      try {
        await store.append(record);
      } catch (error) {
        observer.failed(error instanceof Error ? error.message : String(error));
        throw error;
      }
      observer.appended();
    },
    touch: () => store.touch(),
  };
}
