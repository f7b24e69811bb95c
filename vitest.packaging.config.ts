import { defineConfig } from 'vitest/config';

/** The packages as somebody installs them; asks the registry for what they depend on. */
export default defineConfig({
  test: { include: ['test/packaging/**/*.test.ts'], testTimeout: 3 * 60_000, hookTimeout: 10 * 60_000 },
});
