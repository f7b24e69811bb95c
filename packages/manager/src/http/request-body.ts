import type { IncomingMessage } from 'node:http';
import { DevmgrError } from '@devmgr/core';
import { LineCounter, parseAllDocuments, type Document } from 'yaml';
import { HTTP_FAILURES, HttpError } from './status-map.ts';

/** Deeper nesting than any manifest has: beyond it, recursive code elsewhere could run out of stack. */
const MAX_DEPTH = 100;

/** Types a body cannot be read as; anything else is tried as JSON or YAML, because `curl -d @pod.yaml` names a form type. */
const REFUSED_TYPES =
  /^(?:multipart\/|image\/|audio\/|video\/|application\/(?:vnd\.kubernetes\.protobuf|octet-stream|zip|gzip))/i;

/** The body as bytes; HttpError 413 beyond `maxBytes`. Rejects when the client goes away before the end. */
export async function readBody(incoming: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const tooLarge = (): HttpError =>
    new HttpError(HTTP_FAILURES.tooLarge, `the request body is larger than ${String(maxBytes)} bytes`);
  if (Number(incoming.headers['content-length'] ?? 0) > maxBytes) throw tooLarge();
  return await new Promise<Buffer>((resolve, reject) => {
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    incoming.on('data', (chunk: Buffer) => {
      sizeBytes += chunk.length;
      if (sizeBytes <= maxBytes) {
        chunks.push(chunk);
      } else {
        // What follows is read and dropped (the listener stays), so that the client gets to see the answer.
        chunks.length = 0;
        reject(tooLarge());
      }
    });
    incoming.once('end', () => {
      resolve(Buffer.concat(chunks));
    });
    const gone = (): void => {
      reject(new HttpError(HTTP_FAILURES.expired, 'the client went away before the end of the request body'));
    };
    incoming.once('error', gone);
    incoming.once('close', gone);
  });
}

/** The body as one JSON or YAML document; undefined when it is empty. BAD_REQUEST when it is neither. */
export async function readDocument(incoming: IncomingMessage, maxBytes: number): Promise<unknown> {
  const contentType = incoming.headers['content-type'] ?? '';
  if (REFUSED_TYPES.test(contentType)) {
    incoming.resume();
    throw new HttpError(
      HTTP_FAILURES.unsupportedMediaType,
      `the content type ${contentType} is not supported: send application/json or application/yaml`,
    );
  }
  const text = (await readBody(incoming, maxBytes)).toString('utf8').trim();
  if (text === '') return undefined;
  const value = /^application\/json\b/i.test(contentType) ? parseJson(text) : parseJsonOrYaml(text);
  if (depthOf(value) > MAX_DEPTH) throw badBody(`nested deeper than ${String(MAX_DEPTH)} levels`);
  return value;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw badBody(`not valid JSON: ${messageOf(error)}`);
  }
}

/** JSON first although YAML contains it: it is a hundred times faster. */
function parseJsonOrYaml(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return parseYaml(text);
  }
}

function parseYaml(text: string): unknown {
  const lineCounter = new LineCounter();
  const documents = parseDocuments(text, lineCounter);
  const [document, ...others] = documents;
  if (document === undefined) return undefined;
  const [problem] = document.errors;
  if (problem) {
    const { line, col } = lineCounter.linePos(problem.pos[0]);
    throw badBody(`not valid YAML, line ${String(line)}, column ${String(col)}: ${problem.message}`);
  }
  if (others.length > 0) throw badBody('more than one YAML document: send one object a request');
  try {
    return document.toJS() as unknown;
  } catch (error) {
    // Aliases that expand without end, and the like.
    throw badBody(`not usable YAML: ${messageOf(error)}`);
  }
}

function parseDocuments(text: string, lineCounter: LineCounter): Document.Parsed[] {
  try {
    return [...parseAllDocuments(text, { lineCounter, prettyErrors: false })];
  } catch (error) {
    // The parser recurses: nesting of some thousand levels ends its stack.
    throw badBody(`not usable YAML: ${messageOf(error)}`);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function badBody(text: string): DevmgrError {
  return new DevmgrError('BAD_REQUEST', `the request body is ${text}`);
}

/** Depth of nested maps and lists, counted without recursion; stops beyond the limit. */
function depthOf(value: unknown): number {
  let level: unknown[] = [value];
  for (let depth = 0; ; depth += 1) {
    const next: unknown[] = [];
    for (const item of level) {
      if (typeof item !== 'object' || item === null) continue;
      for (const child of Object.values(item)) if (typeof child === 'object' && child !== null) next.push(child);
    }
    if (next.length === 0 || depth > MAX_DEPTH) return depth;
    level = next;
  }
}
