import { defineConfig, mergeConfig } from 'vitest/config';
import base from './vitest.config.ts';

/** The conformance suite on plugins with one defect each. What takes long is waiting, so several run at a time. */
export default mergeConfig(
  { ...base, test: { ...base.test, include: [] } },
  defineConfig({
    test: {
      include: ['test/conformance/**/*.test.ts'],
      testTimeout: 10 * 60_000,
      maxConcurrency: 10,
      fileParallelism: false,
    },
  }),
);
