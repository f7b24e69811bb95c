import { backOffRestarting, checkpointWriteFailed, goQuote, goQuoteList } from '@devmgr/core';
import { describe, expect, test } from 'vitest';

describe('texts as Go prints them', () => {
  test.each([
    ['plain', '"plain"'],
    ['', '""'],
    ['a"b\\c', '"a\\"b\\\\c"'],
    ['\u0007\b\f\n\r\t\v', '"\\a\\b\\f\\n\\r\\t\\v"'],
    ['\u0000\u001f\u007f', '"\\x00\\x1f\\x7f"'],
    ['\u0080\u00a0\u00ad', '"\\u0080\\u00a0\\u00ad"'],
    ['\u2028\u200b\ufeff\ue000', '"\\u2028\\u200b\\ufeff\\ue000"'],
    ['é 世界 😀', '"é 世界 😀"'],
    ['\u{e0001}', '"\\U000e0001"'],
    ['\ud800', '"\ufffd"'],
  ])('%j is quoted as %s', (text, quoted) => {
    expect(goQuote(text)).toBe(quoted);
  });

  test('lists of texts', () => {
    expect(goQuoteList(['v1beta1'])).toBe('["v1beta1"]');
    expect(goQuoteList(['a', 'b"'])).toBe('["a" "b\\""]');
    expect(goQuoteList([])).toBe('[]');
  });

  test('messages of the kubelet', () => {
    expect(checkpointWriteFailed('disk full')).toBe(
      'failed to write checkpoint file "kubelet_internal_checkpoint": disk full',
    );
    const pod = { name: 'p', namespace: 'n', uid: 'u' };
    expect(backOffRestarting(10_000, 'c', pod)).toBe('back-off 10s restarting failed container=c pod=p_n(u)');
    expect(backOffRestarting(160_000, 'c', pod)).toContain('back-off 2m40s ');
    expect(backOffRestarting(300_000, 'c', pod)).toContain('back-off 5m0s ');
    expect(backOffRestarting(3_605_000, 'c', pod)).toContain('back-off 1h0m5s ');
  });
});
