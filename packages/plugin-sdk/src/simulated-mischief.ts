import type { CallContext, RpcHandlers, deviceplugin } from '@devmgr/wire';
import { Repeater } from './repeater.ts';
import type { Lie } from './simulation-step.ts';
import { WakeUp } from './wake-up.ts';

type Handlers = RpcHandlers<deviceplugin.DevicePluginService>;
type DeviceList = deviceplugin.ListAndWatchResponse;

/** Length of the ids of devices that only make a list long, and what one of them takes in a message. (protobuf encoding) */
const PADDING_ID_CHARS = 60;
const PADDING_BYTES = 2 + (2 + PADDING_ID_CHARS) + (2 + 'Unhealthy'.length);
const FOREVER_MS = 2 ** 31 - 1;

/**
 * What a plugin does that the SDK would never let it do: send the same list over and over, lists that are too long,
 * answers that contradict the question. It stands between the wire and an honest plugin, whose answers it spoils.
 */
export class Mischief {
  readonly #lies = new Set<Lie>();
  readonly #repeater = new Repeater();
  readonly #streams = new Set<WakeUp>();
  #oversizeBytes = 0;
  #padding: readonly deviceplugin.Device[] = [];
  #flood = '';

  /** What goes on now, in words. */
  get troubles(): string[] {
    return [
      ...(this.#repeater.names.length > 0 ? [this.#flood] : []),
      ...[...this.#lies].map((lie) => `lies about ${lie}`),
      ...(this.#oversizeBytes > 0 ? [`lists of ${String(this.#oversizeBytes)} bytes`] : []),
    ];
  }

  /** Sends the list again `perSecond` times a second, as fast as the reader takes it. */
  flood({ perSecond, for: forMs }: { perSecond: number; for?: number | undefined }): void {
    this.#flood = `floods with ${String(perSecond)} lists a second`;
    this.#repeater.start('flood', { everyMs: 1_000 / perSecond, forMs }, () => {
      this.#resend();
    });
  }

  lie(lies: readonly Lie[]): void {
    for (const lie of lies) this.#lies.add(lie);
    this.#resend();
  }

  /** Makes lists at least so long, by unhealthy devices that are not there. */
  oversize(bytes: number): void {
    this.#oversizeBytes = bytes;
    this.#padding = Array.from({ length: Math.ceil(bytes / PADDING_BYTES) }, (_, index) => ({
      ID: `padding-${String(index)}-`.padEnd(PADDING_ID_CHARS, 'x'),
      health: 'Unhealthy',
      topology: undefined,
    }));
    this.#resend();
  }

  /** Ends all of it. */
  calm(): void {
    this.#repeater.stopAll();
    this.#lies.clear();
    this.oversize(0);
  }

  /** Ends what would keep the process alive. */
  close(): void {
    this.#repeater.stopAll();
  }

  /** The same handlers, spoilt while there is mischief. */
  spoil(honest: Handlers): Handlers {
    return {
      ...honest,
      listAndWatch: (request, context) => this.#lists(honest.listAndWatch(request, context)),
      allocate: (request, context) => this.#allocate(honest, request, context),
      getPreferredAllocation: (request, context) => this.#prefer(honest, request, context),
    };
  }

  async *#lists(honest: AsyncIterable<DeviceList>): AsyncGenerator<DeviceList> {
    const iterator = honest[Symbol.asyncIterator]();
    const wakeUp = new WakeUp();
    this.#streams.add(wakeUp);
    let next = iterator.next();
    let again = wakeUp.sleep(FOREVER_MS);
    let newest: DeviceList | undefined;
    try {
      for (;;) {
        const result = await Promise.race([next, again]);
        if (result === undefined) {
          wakeUp.clear();
          again = wakeUp.sleep(FOREVER_MS);
        } else {
          if (result.done === true) return;
          newest = result.value;
          next = iterator.next();
        }
        if (newest !== undefined) yield this.#spoilt(newest);
      }
    } finally {
      this.#streams.delete(wakeUp);
      wakeUp.hint();
      next.catch(() => undefined);
      iterator.return?.().catch(() => undefined);
    }
  }

  #spoilt({ devices }: DeviceList): DeviceList {
    let list = devices;
    if (this.#lies.has('health')) list = list.map((device) => ({ ...device, health: 'Perhaps' }));
    const [first] = list;
    if (this.#lies.has('ids') && first !== undefined) list = [...list, first, { ...first, ID: '' }];
    return { devices: [...list, ...this.#padding] };
  }

  async #allocate(
    honest: Handlers,
    request: deviceplugin.AllocateRequest,
    context: CallContext,
  ): Promise<deviceplugin.AllocateResponse> {
    const response = await honest.allocate(request, context);
    return this.#lies.has('allocate') ? { containerResponses: [] } : response;
  }

  async #prefer(
    honest: Handlers,
    request: deviceplugin.PreferredAllocationRequest,
    context: CallContext,
  ): Promise<deviceplugin.PreferredAllocationResponse> {
    const { containerResponses } = await honest.getPreferredAllocation(request, context);
    if (!this.#lies.has('preferredAllocation')) return { containerResponses };
    return {
      containerResponses: containerResponses.map(({ deviceIDs }) => ({
        deviceIDs: deviceIDs.map((id) => `${id}-nowhere`),
      })),
    };
  }

  #resend(): void {
    for (const stream of this.#streams) stream.hint();
  }
}
