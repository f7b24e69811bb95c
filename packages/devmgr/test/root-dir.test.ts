import { DevmgrError } from '@devmgr/core';
import { describe, expect, test } from 'vitest';
import { resolveRootDir } from '../src/root-dir.ts';

const nobody = { flag: undefined, env: {}, uid: 1000, homeDir: '/home/me' };

describe('the root directory', () => {
  test('is what --root-dir says, then what DEVMGR_ROOT_DIR says', () => {
    const env = { DEVMGR_ROOT_DIR: '/from/env', XDG_RUNTIME_DIR: '/run/user/1000' };
    expect(resolveRootDir({ ...nobody, flag: '/from/flag', env })).toBe('/from/flag');
    expect(resolveRootDir({ ...nobody, env })).toBe('/from/env');
    expect(resolveRootDir({ ...nobody, uid: 0, env })).toBe('/from/env');
  });

  test('is absolute when a relative one was given', () => {
    expect(resolveRootDir({ ...nobody, flag: 'dm' })).toBe(`${process.cwd()}/dm`);
  });

  test("is the kubelet's for root, and one's own for everyone else", () => {
    expect(resolveRootDir({ ...nobody, uid: 0, env: { XDG_RUNTIME_DIR: '/run/user/0' } })).toBe('/var/lib/kubelet');
    expect(resolveRootDir({ ...nobody, env: { XDG_RUNTIME_DIR: '/run/user/1000' } })).toBe('/run/user/1000/devmgr');
    expect(resolveRootDir(nobody)).toBe('/home/me/.devmgr');
    expect(resolveRootDir({ ...nobody, env: { DEVMGR_ROOT_DIR: '', XDG_RUNTIME_DIR: 'relative' } })).toBe(
      '/home/me/.devmgr',
    );
  });

  test('is refused when its sockets would have paths of more than 107 bytes, saying where it came from', () => {
    const suffix = '/device-plugins/kubelet.sock';
    const longest = `/${'a'.repeat(107 - suffix.length - 1)}`;
    expect(resolveRootDir({ ...nobody, flag: longest })).toBe(longest);
    const failure = failureOf(() => resolveRootDir({ ...nobody, env: { DEVMGR_ROOT_DIR: `${longest}a` } }));
    expect(failure).toMatchObject({ code: 'PATH_TOO_LONG' });
    expect(failure.message).toContain('from DEVMGR_ROOT_DIR');
    expect(failure.message).toContain('has 108 bytes, and a socket path may have 107');
    // Bytes count, not characters.
    const umlauts = `/${'ä'.repeat(40)}`;
    expect(failureOf(() => resolveRootDir({ ...nobody, flag: umlauts })).code).toBe('PATH_TOO_LONG');
  });

  test('cannot be nothing', () => {
    expect(failureOf(() => resolveRootDir({ ...nobody, flag: '' })).code).toBe('USAGE');
  });
});

function failureOf(work: () => unknown): DevmgrError {
  try {
    work();
  } catch (error) {
    if (error instanceof DevmgrError) return error;
    throw error;
  }
  throw new Error('did not fail');
}
