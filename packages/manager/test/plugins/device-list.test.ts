import { deviceplugin } from '@devmgr/wire';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeDeviceList, DeviceListDecoder } from '../../src/plugins/device-list.ts';

interface Listed {
  readonly id: string;
  readonly health: string;
  readonly nodes: readonly number[] | undefined;
}

function encode(devices: readonly Listed[]): Uint8Array {
  return deviceplugin.ListAndWatchResponse.encode({
    devices: devices.map(({ id, health, nodes }) => ({
      ID: id,
      health,
      topology: nodes === undefined ? undefined : { nodes: nodes.map((ID) => ({ ID: BigInt(ID) })) },
    })),
  }).finish();
}

const device = fc.record({
  id: fc.oneof(fc.constantFrom('a', 'b', 'c'), fc.string({ maxLength: 300 })),
  health: fc.constantFrom('Healthy', 'Unhealthy', ''),
  nodes: fc.option(fc.array(fc.integer({ min: -1, max: 3 }), { maxLength: 3 }), { nil: undefined }),
});

describe('lists of one stream', () => {
  test('are what each says by itself, whatever came before', () => {
    // Steps that keep most of a list, as plugins do, over more devices than are compared at once.
    const edit = fc.record({
      at: fc.nat(200),
      how: fc.constantFrom('replace', 'insert', 'remove', 'append', 'cut', 'same'),
      device,
    });
    fc.assert(
      fc.property(fc.array(device, { maxLength: 150 }), fc.array(edit, { maxLength: 12 }), (first, edits) => {
        const decoder = new DeviceListDecoder();
        let list: Listed[] = first;
        for (const step of [undefined, ...edits]) {
          const at = step === undefined || list.length === 0 ? 0 : step.at % list.length;
          if (step?.how === 'replace' && list.length > 0) list = list.with(at, step.device);
          if (step?.how === 'insert') list = list.toSpliced(at, 0, step.device);
          if (step?.how === 'remove') list = list.toSpliced(at, 1);
          if (step?.how === 'append') list = [...list, step.device];
          if (step?.how === 'cut') list = list.slice(0, at);
          const bytes = encode(list);
          expect(decoder.decode(bytes)).toEqual(decodeDeviceList(bytes));
        }
      }),
      { numRuns: 300 },
    );
  });

  test('hand out the same objects for what repeats', () => {
    const decoder = new DeviceListDecoder();
    const list = Array.from({ length: 200 }, (_, index) => ({
      id: `d${String(index)}`,
      health: 'Healthy',
      nodes: [index % 2],
    }));
    const first = decoder.decode(encode(list));
    const second = decoder.decode(encode(list.with(100, { id: 'd100', health: 'Unhealthy', nodes: [0] })));
    const changed = second.flatMap((one, index) => (one === first[index] ? [] : [index]));
    expect(changed).toContain(100);
    // Decoded anew are a few around it, the others are not.
    expect(changed.length).toBeLessThan(100);
    expect(second[100]).toEqual({ id: 'd100', health: 'Unhealthy', numaNodes: [0] });
  });

  test('that are no plain list are read, or refused, as protobuf does', () => {
    const decoder = new DeviceListDecoder();
    const good = encode([{ id: 'a', health: 'Healthy', nodes: [1] }]);
    decoder.decode(good);
    const unknownField = Uint8Array.from([...good, 0x7a, 0x01, 0x00]);
    expect(decoder.decode(unknownField)).toEqual(decodeDeviceList(good));
    const longLength = Uint8Array.from([0x0a, 0x83, 0x80, 0x80, 0x80, 0x00, 0x0a, 0x01, 0x61]);
    expect(decoder.decode(longLength)).toEqual(decodeDeviceList(longLength));
    for (const bad of [
      good.subarray(0, -1),
      Uint8Array.from([0x0a]),
      Uint8Array.from([0x0a, 0x02, 0x0a, 0x05]),
      Uint8Array.from([0x0a, 0x85]),
    ]) {
      expect(() => decodeDeviceList(bad)).toThrow();
      expect(() => decoder.decode(bad)).toThrow();
    }
    expect(decoder.decode(good)).toEqual([{ id: 'a', health: 'Healthy', numaNodes: [1] }]);
    expect(decoder.decode(new Uint8Array(0))).toEqual([]);
  });
});
