import { expect, test } from 'vitest';
import { RpcCode, RpcError, goErrorText } from '../src/index.ts';

test('codes are named as in Go', () => {
  expect(goErrorText(new RpcError(RpcCode.Unavailable, 'gone'))).toBe('rpc error: code = Unavailable desc = gone');
  expect(goErrorText(new RpcError(RpcCode.Canceled, ''))).toBe('rpc error: code = Canceled desc = ');
  expect(goErrorText(new RpcError(RpcCode.DeadlineExceeded, 'context deadline exceeded'))).toBe(
    'rpc error: code = DeadlineExceeded desc = context deadline exceeded',
  );
  expect(goErrorText(new RpcError(77, 'odd'))).toBe('rpc error: code = Code(77) desc = odd');
});

test('other errors are their message alone', () => {
  expect(goErrorText(new Error('plain'))).toBe('plain');
  expect(goErrorText(Object.assign(new Error('5 NOT_FOUND: x'), { code: 5, details: 'x' }))).toBe(
    'rpc error: code = NotFound desc = x',
  );
  expect(goErrorText('text')).toBe('text');
  expect(goErrorText(undefined)).toBe('undefined');
});
