import type { RpcClient, deviceplugin } from '@devmgr/wire';

type PluginClient = Pick<RpcClient<typeof deviceplugin.DevicePluginService>, 'listAndWatch'>;

/** One message of ListAndWatch. */
export interface ReceivedList {
  readonly atMs: number;
  readonly devices: readonly deviceplugin.Device[];
  /** Size of the message as it travelled. */
  readonly sizeBytes: number;
}

/** One ListAndWatch and all it brought. */
export class DeviceStream {
  readonly openedAtMs: number;
  readonly lists: ReceivedList[] = [];
  /** When and why it ended, null for a plain end; undefined while it lives. */
  ended: { readonly atMs: number; readonly error: Error | null } | undefined;
  /** True once we ended it ourselves. */
  cut = false;
  readonly #stop = new AbortController();

  constructor(client: PluginClient, nowMs: () => number, sizeOf: () => number) {
    this.openedAtMs = nowMs();
    void this.#follow(client, nowMs, sizeOf);
  }

  get live(): boolean {
    return this.ended === undefined;
  }

  /** The newest list; undefined before the first. */
  get latest(): ReceivedList | undefined {
    return this.lists.at(-1);
  }

  /** Cancels the call, and nothing else. */
  close(): void {
    this.cut ||= this.live;
    this.#stop.abort();
  }

  async #follow(client: PluginClient, nowMs: () => number, sizeOf: () => number): Promise<void> {
    try {
      for await (const { devices } of client.listAndWatch({}, { signal: this.#stop.signal })) {
        this.lists.push({ atMs: nowMs(), devices, sizeBytes: sizeOf() });
      }
      this.ended = { atMs: nowMs(), error: null };
    } catch (error) {
      this.ended = { atMs: nowMs(), error: error instanceof Error ? error : new Error(String(error)) };
    }
  }
}
