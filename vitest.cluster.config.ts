import { defineConfig, mergeConfig } from 'vitest/config';
import base from './vitest.config.ts';

/** A real Kubernetes on loopback, built at the first run; needs root. `npm run test:cluster` looks whether it can. */
export default mergeConfig(
  { ...base, test: { ...base.test, include: [] } },
  defineConfig({
    test: {
      include: ['test/cluster/**/*.test.ts'],
      testTimeout: 120_000,
      hookTimeout: 180_000,
      fileParallelism: false,
    },
  }),
);
