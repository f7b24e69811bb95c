import { defineConfig, mergeConfig } from 'vitest/config';
import base from './vitest.config.ts';

/** Device plugins in other languages; built at the first run, so the first one takes some minutes. */
export default mergeConfig(
  { ...base, test: { ...base.test, include: [] } },
  defineConfig({
    test: {
      include: ['test/interop/**/*.test.ts'],
      globalSetup: ['test/interop/build-peers.ts'],
      testTimeout: 90_000,
      hookTimeout: 25 * 60_000,
      fileParallelism: false,
      // Verdicts are mostly waiting; more of them at once would make it a test of the machine.
      maxConcurrency: 4,
    },
  }),
);
