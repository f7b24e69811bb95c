import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (name: string): string => fileURLToPath(new URL(`packages/${name}/src/index.ts`, import.meta.url));

export default defineConfig({
  resolve: {
    // Tests run the packages' sources; only what starts the real command line uses the built output.
    alias: {
      '@devmgr/core': source('core'),
      '@devmgr/wire': source('wire'),
      // Before the package it belongs to: an alias also takes what begins with it.
      '@devmgr/plugin-sdk/testing': fileURLToPath(new URL('packages/plugin-sdk/src/testing/index.ts', import.meta.url)),
      '@devmgr/plugin-sdk/running': fileURLToPath(new URL('packages/plugin-sdk/src/running/index.ts', import.meta.url)),
      '@devmgr/plugin-sdk': source('plugin-sdk'),
      '@devmgr/conformance': source('conformance'),
      '@devmgr/manager/client': fileURLToPath(new URL('packages/manager/src/client.ts', import.meta.url)),
      '@devmgr/manager': source('manager'),
    },
  },
  test: {
    include: ['packages/*/test/**/*.test.ts', 'test/integration/**/*.test.ts', 'test/e2e/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    maxWorkers: 2,
  },
});
