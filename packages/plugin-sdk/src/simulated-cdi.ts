import { writeCdiFile } from './cdi-file.ts';
import type { CdiFile } from './cdi-file.ts';
import type { CdiSpecDevice } from './cdi-spec.ts';
import { simulatedResponse } from './simulated-response.ts';
import type { Chosen } from './simulated-response.ts';
import type { SimulatedResource } from './simulation-schema.ts';

/**
 * CDI spec files for the names that a simulated resource hands out, so that container runtimes find them. A CDI device
 * sets one variable in the container, `CDI_` and its class and name in capitals, to the id of the simulated device.
 */
export class SimulatedCdi {
  readonly #resource: SimulatedResource;
  readonly #dir: string;
  /** By kind. */
  readonly #files = new Map<string, { readonly file: CdiFile; written: string }>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(resource: SimulatedResource, dir: string) {
    this.#resource = resource;
    this.#dir = dir;
  }

  /** Sees to it that the files name all of `devices`; writes only what changed. Rejects as `writeCdiFile` does. */
  cover(devices: readonly Chosen[]): Promise<void> {
    const covered = this.#last.then(() => this.#cover(devices));
    this.#last = covered.catch(() => undefined); // The one who asked for it hears of it.
    return covered;
  }

  /** Removes the files. */
  async close(): Promise<void> {
    await this.#last;
    for (const { file } of this.#files.values()) await file.close();
  }

  async #cover(devices: readonly Chosen[]): Promise<void> {
    for (const [kind, entries] of this.#entries(devices)) {
      const spec = { kind, devices: entries };
      const text = JSON.stringify(entries);
      const known = this.#files.get(kind);
      if (known === undefined) {
        // Another resource may hand out other devices of the same kind.
        const fileName = `${kind}-${this.#resource.resource}.json`.replaceAll('/', '_');
        const file = await writeCdiFile(spec, { dir: this.#dir, fileName, removeOnClose: true });
        this.#files.set(kind, { file, written: text });
      } else if (known.written !== text) {
        await known.file.update(spec);
        known.written = text;
      }
    }
  }

  #entries(devices: readonly Chosen[]): Map<string, CdiSpecDevice[]> {
    const { resource, cdi } = this.#resource;
    const kinds = new Map<string, Map<string, CdiSpecDevice>>();
    for (const device of devices) {
      for (const { name: full } of simulatedResponse({ resource, cdi }, [device]).flatMap(
        (piece) => piece.cdiDevices ?? [],
      )) {
        const [kind = '', name = ''] = full.split('=');
        const variable = `CDI_${kind.slice(kind.indexOf('/') + 1)}_${name}`.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_');
        const known = kinds.get(kind) ?? new Map<string, CdiSpecDevice>();
        kinds.set(kind, known);
        // A name without {id} or {index} is one CDI device for all.
        if (!known.has(name)) known.set(name, { name, edits: { env: { [variable]: device.id } } });
      }
    }
    return new Map([...kinds].map(([kind, entries]) => [kind, [...entries.values()]]));
  }
}
