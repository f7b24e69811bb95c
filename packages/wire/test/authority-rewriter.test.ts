import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2';
import type { OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { Duplex, Transform } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AuthorityRewriter } from '../src/authority-rewriter.ts';
import { until } from './support/directory.ts';
import { HpackEncoder, decodeWithoutTable } from './support/hpack-codec.ts';
import type { FieldPlan } from './support/hpack-codec.ts';
import { HEADER_TABLE } from './support/hpack-static-table.ts';
import type { HeaderList } from './support/http2-bytes.ts';
import {
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  HEADERS,
  PADDED,
  PREFACE,
  PRIORITY,
  SETTINGS,
  frame,
  hpackInteger,
  literals,
  parseFrames,
  plainString,
} from './support/http2-bytes.ts';

/** Runs the bytes through a rewriter in pieces of the given sizes, over and over. */
function rewrite(bytes: Buffer, sizes: readonly number[] = [bytes.length]): Buffer {
  const rewriter = new AuthorityRewriter();
  const out: Buffer[] = [];
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = Math.max(1, sizes[turn % sizes.length] ?? 1);
    out.push(...rewriter.push(Buffer.from(bytes.subarray(at, at + size))));
    at += size;
  }
  return Buffer.concat(out);
}

interface Decoded {
  readonly stream: number;
  readonly flags: number;
  readonly priority: string;
  readonly fields: HeaderList;
}

/** The header blocks of rewritten bytes, and every other frame as it is. */
function decode(bytes: Buffer): { preface: Buffer; blocks: Decoded[]; others: Buffer[] } {
  const { frames, rest } = parseFrames(bytes.subarray(PREFACE.length));
  expect(rest).toHaveLength(0);
  const blocks: Decoded[] = [];
  const others: Buffer[] = [];
  let open: { stream: number; flags: number; parts: Buffer[] } | undefined;
  for (const { type, flags, stream, payload } of frames) {
    expect(payload.length).toBeLessThanOrEqual(type === HEADERS || type === CONTINUATION ? 16_384 : 0xff_ffff);
    if (type === HEADERS) open = { stream, flags, parts: [] };
    else if (type !== CONTINUATION) {
      others.push(frame(type, flags, stream, payload));
      continue;
    }
    if (open === undefined) throw new Error('CONTINUATION without HEADERS');
    open.parts.push(payload);
    if ((flags & END_HEADERS) === 0) continue;
    const block = Buffer.concat(open.parts);
    const split = (open.flags & PRIORITY) === 0 ? 0 : 5;
    blocks.push({
      stream: open.stream,
      flags: open.flags & ~END_HEADERS,
      priority: block.toString('hex', 0, split),
      fields: decodeWithoutTable(block.subarray(split)),
    });
    open = undefined;
  }
  return { preface: bytes.subarray(0, PREFACE.length), blocks, others };
}

const name = fc.oneof(
  fc.constantFrom(':authority', ':path', ':method', ':scheme', 'content-type', 'te', 'host', 'grpc-timeout', 'x'),
  fc.stringMatching(/^[a-z-]{1,40}$/),
  fc.constantFrom(...HEADER_TABLE.map(([known]) => known)),
);
const value = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('', 'POST', 'http', '/v1beta1.Registration/Register', '/var/lib/x.sock') },
  { weight: 6, arbitrary: fc.stringMatching(/^[ -~]{0,60}$/) },
  { weight: 1, arbitrary: fc.stringMatching(/^[ -~]{1000,5000}$/) }, // larger than the table, in part
);
const field: fc.Arbitrary<FieldPlan> = fc.record({
  name,
  value,
  choice: fc.constantFrom('index', 'index', 'name', 'spelt'),
  keeping: fc.constantFrom('add', 'add', 'plain', 'never'),
});
const message = fc.record({
  fields: fc.array(field, { maxLength: 12 }),
  resize: fc.option(fc.integer({ min: 0, max: 4096 })),
  padding: fc.option(fc.integer({ min: 0, max: 255 })),
  priority: fc.option(fc.uint8Array({ minLength: 5, maxLength: 5 })),
  cuts: fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 4 }),
  endStream: fc.boolean(),
  data: fc.option(fc.uint8Array({ maxLength: 100 })),
  trailers: fc.boolean(),
});

/** A header block as one HEADERS frame and CONTINUATION frames cut where told. */
function headerFrames(
  stream: number,
  block: Buffer,
  plan: Partial<typeof message extends fc.Arbitrary<infer T> ? T : never>,
): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (const cut of plan.cuts ?? []) parts.push(block.subarray(at, (at = Math.min(block.length, at + cut))));
  parts.push(block.subarray(at));
  return Buffer.concat(
    parts.map((part, index) => {
      const last = index === parts.length - 1 ? END_HEADERS : 0;
      if (index > 0) return frame(CONTINUATION, last, stream, part);
      const priority = plan.priority ?? new Uint8Array();
      const padding = plan.padding ?? undefined;
      const head = padding === undefined ? [] : [padding];
      const payload = Buffer.concat([Buffer.from(head), priority, part, Buffer.alloc(padding ?? 0)]);
      const flags =
        (plan.endStream === true ? END_STREAM : 0) |
        (padding === undefined ? 0 : PADDED) |
        (priority.length > 0 ? PRIORITY : 0);
      return frame(HEADERS, flags | last, stream, payload);
    }),
  );
}

const withLocalhost = (fields: readonly FieldPlan[]): HeaderList => [
  [':authority', 'localhost'],
  ...withoutAuthority(fields),
];
const withoutAuthority = (fields: readonly FieldPlan[]): HeaderList =>
  fields.filter((plan) => plan.name !== ':authority').map((plan) => [plan.name, plan.value] as const);

test('any sequence of header blocks comes out the same but for its authority, however it is cut', () => {
  fc.assert(
    fc.property(
      fc.array(message, { minLength: 1, maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 5 }),
      (messages, sizes) => {
        const encoder = new HpackEncoder();
        const input: Buffer[] = [PREFACE, frame(SETTINGS, 0, 0)];
        const expected: Decoded[] = [];
        const others: Buffer[] = [frame(SETTINGS, 0, 0)];
        messages.forEach((plan, index) => {
          const stream = index * 2 + 1;
          const resize = plan.resize === null ? [] : [encoder.resize(plan.resize)];
          input.push(headerFrames(stream, Buffer.concat([...resize, encoder.encode(plan.fields)]), plan));
          expected.push({
            stream,
            flags: (plan.endStream ? END_STREAM : 0) | (plan.priority === null ? 0 : PRIORITY),
            priority: Buffer.from(plan.priority ?? []).toString('hex'),
            fields: withLocalhost(plan.fields),
          });
          if (plan.data !== null) {
            others.push(frame(DATA, 0, stream, plan.data));
            input.push(frame(DATA, 0, stream, plan.data));
          }
          if (!plan.trailers) return;
          input.push(headerFrames(stream, encoder.encode(plan.fields), { endStream: true }));
          expected.push({ stream, flags: END_STREAM, priority: '', fields: withoutAuthority(plan.fields) });
        });
        const result = decode(rewrite(Buffer.concat(input), sizes));
        expect(result.preface).toEqual(PREFACE);
        expect(result.blocks).toEqual(expected);
        expect(result.others).toEqual(others);
      },
    ),
    { numRuns: 300, interruptAfterTimeLimit: 20_000 },
  );
});

test("what Node's own encoder sends, Huffman codes and table included, comes out the same", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          authority: fc.constantFrom(
            '/var/lib/kubelet/device-plugins/kubelet.sock',
            '',
            'localhost',
            'unix:///x',
            '%2Fx',
          ),
          headers: fc.dictionary(fc.stringMatching(/^x-[a-z]{1,6}$/), fc.stringMatching(/^[!-~]{1,50}$/), {
            maxKeys: 6,
          }),
        }),
        { minLength: 1, maxLength: 30 },
      ),
      fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 5 }),
      async (requests, sizes) => {
        const received = await throughNode(requests, sizes);
        expect(received).toEqual(requests.map(({ headers }) => ({ ':authority': 'localhost', ...headers })));
      },
    ),
    { numRuns: 25, interruptAfterTimeLimit: 20_000 },
  );
});

/** Sends requests with Node's HTTP/2 client through a rewriter to Node's HTTP/2 server; returns what that understood. */
async function throughNode(
  requests: readonly { authority: string; headers: Record<string, string> }[],
  sizes: readonly number[],
): Promise<OutgoingHttpHeaders[]> {
  const rewriter = new AuthorityRewriter();
  let turn = 0;
  const toServer = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      for (let at = 0; at < chunk.length; turn += 1) {
        const size = sizes[turn % sizes.length] ?? 1;
        for (const piece of rewriter.push(Buffer.from(chunk.subarray(at, at + size)))) this.push(piece);
        at += size;
      }
      done();
    },
  });
  const toClient = new Transform({ transform: (chunk: Buffer, _encoding, done) => done(null, chunk) });
  const server = createHttp2Server();
  const received: OutgoingHttpHeaders[] = [];
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    received.push(
      Object.fromEntries(Object.entries(headers).filter(([key]) => key === ':authority' || key.startsWith('x-'))),
    );
    stream.on('error', () => undefined);
    stream.respond({ ':status': 200 }, { endStream: true });
  });
  server.emit('connection', Duplex.from({ readable: toServer, writable: toClient }));
  const clientSide = Duplex.from({ readable: toClient, writable: toServer });
  const client = connectHttp2('http://localhost', { createConnection: () => clientSide });
  client.on('error', () => undefined);
  try {
    for (const { authority, headers } of requests) {
      const before = received.length;
      const stream = client.request({ ':authority': authority, ...headers }, { endStream: true });
      stream.on('error', () => undefined);
      stream.resume();
      await until('the request to arrive', () => received.length > before);
    }
    return received;
  } finally {
    client.destroy();
    clientSide.destroy();
  }
}

test('an authority whose name is Huffman-coded is replaced too', () => {
  const huffmanName = Buffer.from('88b83b5339ec327d7f', 'hex');
  const block = Buffer.concat([Buffer.of(0x40), huffmanName, plainString('/raw'), Buffer.of(0x80 | 62)]);
  const bytes = Buffer.concat([PREFACE, frame(HEADERS, END_HEADERS, 1, block)]);
  expect(decode(rewrite(bytes)).blocks[0]?.fields).toEqual([[':authority', 'localhost']]);
});

test('a field that must never be indexed stays so', () => {
  const block = Buffer.concat([
    Buffer.of(0x10),
    plainString('secret'),
    plainString('s'),
    hpackInteger(23, 4, 0x10),
    plainString('t'),
  ]);
  const out = rewrite(Buffer.concat([PREFACE, frame(HEADERS, END_HEADERS, 1, block)])).subarray(PREFACE.length + 9);
  expect(out.subarray(-block.length)).toEqual(block);
});

const LONG = Buffer.concat([Buffer.of(0x40), plainString('x'), plainString('y'.repeat(3000))]);

test.each<[what: string, frames: Buffer, message: string]>([
  [
    'a frame inside a header block',
    Buffer.concat([frame(HEADERS, 0, 1), frame(DATA, 0, 1)]),
    'frame inside an open header block',
  ],
  ['a CONTINUATION of nothing', frame(CONTINUATION, END_HEADERS, 1), 'CONTINUATION without HEADERS'],
  [
    'a CONTINUATION of another stream',
    Buffer.concat([frame(HEADERS, 0, 1), frame(CONTINUATION, END_HEADERS, 3)]),
    'CONTINUATION without HEADERS',
  ],
  [
    'a HEADERS inside a header block',
    Buffer.concat([frame(HEADERS, 0, 1), frame(HEADERS, END_HEADERS, 3)]),
    'frame inside an open header block',
  ],
  ['a header frame beyond the frame size', Buffer.of(0, 0x40, 1, HEADERS, 0, 0, 0, 0, 1), 'header frame too large'],
  [
    'a block beyond 64 KiB',
    Buffer.concat([frame(HEADERS, 0, 1), ...Array<Buffer>(5).fill(frame(CONTINUATION, 0, 1, Buffer.alloc(16_000)))]),
    'header block too large',
  ],
  [
    'a block of endless empty frames',
    Buffer.concat([frame(HEADERS, 0, 1), ...Array<Buffer>(5000).fill(frame(CONTINUATION, 0, 1))]),
    'header block in too many frames',
  ],
  [
    'a block that expands a thousandfold',
    frame(HEADERS, END_HEADERS, 1, Buffer.concat([LONG, Buffer.alloc(13_000, 0x80 | 62)])),
    'header block expands too far',
  ],
  [
    'padding longer than its frame',
    frame(HEADERS, END_HEADERS | PADDED, 1, Buffer.of(3, 0, 0)),
    'padding longer than its frame',
  ],
  ['a priority cut short', frame(HEADERS, END_HEADERS | PRIORITY, 1, Buffer.alloc(4)), 'priority cut short'],
  ['a string cut short', frame(HEADERS, END_HEADERS, 1, Buffer.of(0, 5, 0x61)), 'HPACK string cut short'],
  ['an integer without end', frame(HEADERS, END_HEADERS, 1, Buffer.alloc(20, 0xff)), 'HPACK integer too large'],
  ['an index beyond the table', frame(HEADERS, END_HEADERS, 1, Buffer.of(0x80 | 62)), 'HPACK index out of range'],
  ['index 0', frame(HEADERS, END_HEADERS, 1, Buffer.of(0x80)), 'HPACK index 0'],
])('%s is refused', (_what, frames, problem) => {
  expect(() => rewrite(Buffer.concat([PREFACE, frames]))).toThrow(problem);
});

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function usedBytes(): number {
  collectGarbage();
  const { arrayBuffers, heapUsed } = process.memoryUsage();
  return arrayBuffers + heapUsed;
}

test('entries the peer has dropped from its table do not pile up', async () => {
  const rewriter = new AuthorityRewriter();
  rewriter.push(PREFACE);
  const before = usedBytes();
  for (let stream = 1; stream < 40_000; stream += 2) {
    const block = literals([['k', 'v']]);
    const kept = Buffer.concat([Buffer.of(0x40), plainString(`name-${String(stream)}`), plainString('v'.repeat(4000))]);
    rewriter.push(frame(HEADERS, END_HEADERS, stream, Buffer.concat([block, kept])));
  }
  // All of them would be 80 MB. Asked again and again, since freed buffers are given back in the background.
  await until('the memory to be free again', () => usedBytes() - before < 20 * 1024 * 1024);
  rewriter.push(frame(SETTINGS, 0, 0)); // the rewriter is still in use, so not collected
});

test('random header blocks never hang, and throw nothing but plain errors', () => {
  let refused = 0;
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 5 }),
      fc.nat(255),
      (blocks, flags) => {
        const rewriter = new AuthorityRewriter();
        rewriter.push(PREFACE);
        try {
          blocks.forEach((block, index) => {
            rewriter.push(frame(HEADERS, flags | END_HEADERS, index * 2 + 1, block));
          });
        } catch (error) {
          refused += 1;
          expect(error).toBeInstanceOf(Error);
          expect(error).not.toBeInstanceOf(TypeError);
        }
      },
    ),
    { numRuns: 3000 },
  );
  expect(refused).toBeGreaterThan(100);
});

test('random octets never hang, and throw nothing but plain errors', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), (chunks) => {
      const rewriter = new AuthorityRewriter();
      try {
        for (const chunk of chunks) rewriter.push(Buffer.from(chunk));
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        expect(error).not.toBeInstanceOf(TypeError);
      }
    }),
    { numRuns: 1000 },
  );
});
