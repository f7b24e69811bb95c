import { checkResourceName, isExtendedResourceName } from '@devmgr/core';
import { describe, expect, test } from 'vitest';

const LONGEST_DOMAIN = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(52)}`;

describe('resource names', () => {
  test.each([
    'nvidia.com/gpu',
    'example.com/A-b_c.9',
    'x/y',
    'a.b-c.d/0',
    '0.1/2',
    `example.com/${'n'.repeat(63)}`,
    `${LONGEST_DOMAIN}/gpu`,
    'a.b/C_d.e-f',
  ])('scenario 14: %s can be registered', (name) => {
    expect(checkResourceName(name)).toEqual({ ok: true });
  });

  test.each([
    'cpu',
    'kubernetes.io/x',
    'a.kubernetes.io/x',
    'requests.foo/x',
    'Foo/x',
    'a/b/c',
    'a/',
    '/b',
    'gpu',
    '',
    '/',
    '/gpu',
    'example.com/',
    'example.com/gpu/1',
    'kubernetes.io/gpu',
    'foo.kubernetes.io/gpu',
    'deviceclass.resource.kubernetes.io/gpu',
    'xkubernetes.io/gpu',
    'requests.example.com/gpu',
    'Example.com/gpu',
    'example..com/gpu',
    '-example.com/gpu',
    'example-.com/gpu',
    'example.com/-gpu',
    'example.com/gpu-',
    'example.com/g pu',
    'example.com/gpü',
    'example.com/gpu\n',
    `example.com/${'n'.repeat(64)}`,
    `${LONGEST_DOMAIN}d/gpu`,
  ])('scenario 14: %j is refused', (name) => {
    expect(checkResourceName(name)).toEqual({
      ok: false,
      message: expect.stringMatching(/^the ResourceName ".*" is invalid$/) as unknown,
    });
    expect(isExtendedResourceName(name)).toBe(false);
  });

  test('scenario 14: the name is quoted as Go quotes it', () => {
    expect(checkResourceName('a"b\n\u0001\u200b é')).toMatchObject({
      message: 'the ResourceName "a\\"b\\n\\x01\\u200b é" is invalid',
    });
  });

  test('the domain may have 244 characters: the prefix of quotas counts', () => {
    expect(LONGEST_DOMAIN.length).toBe(244);
  });
});
