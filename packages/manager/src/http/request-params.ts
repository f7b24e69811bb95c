import { DevmgrError } from '@devmgr/core';
import type { ApiRequest } from './context.ts';

/** A part of the path that the route guarantees. */
export function pathParam(request: ApiRequest, name: string): string {
  return request.req.param(name) ?? '';
}

/** `?name=true`, also `?name=1` and `?name`; anything else is BAD_REQUEST. */
export function booleanQuery(request: ApiRequest, name: string): boolean {
  const text = request.req.query(name);
  if (text === undefined || text === 'false' || text === '0') return false;
  if (text === 'true' || text === '1' || text === '') return true;
  throw badQuery(name, text, 'true or false');
}

/** `?name=N`, a whole number from `minimum` up; undefined when it is not given. */
export function wholeNumberQuery(request: ApiRequest, name: string, minimum = 0): number | undefined {
  const text = request.req.query(name);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^-?\d{1,15}$/.test(text) || value < minimum) {
    throw badQuery(name, text, `a whole number, at least ${String(minimum)}`);
  }
  return value;
}

/** A member of a JSON body that must be a whole number; undefined when it is not there. */
export function wholeNumberField(body: Record<string, unknown>, name: string, minimum = 0): number | undefined {
  const value = body[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < minimum) {
    throw new DevmgrError('BAD_REQUEST', `${name}: must be a whole number, at least ${String(minimum)}`);
  }
  return value;
}

/** The body as a map; an empty body is an empty map. */
export function asMap(body: unknown): Record<string, unknown> {
  if (body === undefined || body === null) return {};
  if (typeof body !== 'object' || Array.isArray(body)) {
    throw new DevmgrError('BAD_REQUEST', 'the request body must be an object');
  }
  return body as Record<string, unknown>;
}

function badQuery(name: string, text: string, expected: string): DevmgrError {
  return new DevmgrError('BAD_REQUEST', `query parameter ${name}: "${text}" is not ${expected}`);
}
