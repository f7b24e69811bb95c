import eslint from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** The folders of `packages/manager/src` that speak to the outside; they meet in daemon.ts and nowhere else. */
const ADAPTERS = ['checkpoint', 'hooks', 'http', 'node', 'plugins', 'podresources', 'pods', 'runtimes', 'telemetry'];

const forbid = (files, patterns) => ({
  files,
  rules: { 'no-restricted-imports': ['error', { patterns }] },
});
const group = (list, message) => ({ group: list, message });

const NO_DEEP = group(['@devmgr/*/src/*', '@devmgr/*/dist/*'], 'Use what the package exports.');

export default defineConfig(
  globalIgnores(['**/dist/', 'packages/wire/src/gen/', '**/.build/', 'coverage/']),
  eslint.configs.recommended,
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        project: ['packages/*/tsconfig.json', 'tsconfig.tests.json'],
        tsconfigRootDir: import.meta.dirname,
      },
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'max-lines': ['error', { max: 600, skipComments: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
  },
  // The boundaries of ARCHITECTURE.md.
  forbid(
    ['packages/core/src/**'],
    [group(['@devmgr/*', 'node:*'], 'core is pure: no other package, no Node.'), NO_DEEP],
  ),
  forbid(['packages/wire/src/**'], [group(['@devmgr/*'], 'wire knows nothing of ours.'), NO_DEEP]),
  forbid(
    ['packages/plugin-sdk/src/**'],
    [group(['@devmgr/manager', 'devmgr'], 'The SDK works with any manager: core and wire only.'), NO_DEEP],
  ),
  forbid(
    ['packages/conformance/src/**'],
    [group(['@devmgr/manager', 'devmgr'], 'The suite is a manager of its own: core, wire and the SDK only.'), NO_DEEP],
  ),
  forbid(
    ['packages/manager/src/**'],
    [group(['@devmgr/plugin-sdk', 'devmgr'], 'The manager knows plugins only over the wire.'), NO_DEEP],
  ),
  ...ADAPTERS.map((folder) =>
    forbid(
      [`packages/manager/src/${folder}/**`],
      [
        group(['@devmgr/plugin-sdk', 'devmgr'], 'The manager knows plugins only over the wire.'),
        NO_DEEP,
        group(
          ADAPTERS.filter((other) => other !== folder && !(folder === 'pods' && other === 'runtimes')).map(
            (other) => `../${other}/*`,
          ),
          'Adapters never import one another; they meet in daemon.ts through ports.ts.',
        ),
      ],
    ),
  ),
  {
    files: ['packages/core/src/**'],
    rules: {
      'no-restricted-globals': ['error', 'setTimeout', 'setInterval', 'process', 'Buffer', 'Date'],
      'no-restricted-syntax': [
        'error',
        { selector: 'AwaitExpression', message: 'core is synchronous.' },
        { selector: 'NewExpression[callee.name="Date"]', message: 'Time is passed in.' },
      ],
    },
  },
  {
    files: ['**/test/**', 'test/**'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/require-await': 'off',
      'max-lines': ['error', { max: 900, skipComments: true }],
    },
  },
  {
    files: ['**/*.js', '**/*.mjs'],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: {
      parserOptions: { project: null },
      globals: {
        process: 'readonly',
        console: 'readonly',
        URL: 'readonly',
        setTimeout: 'readonly',
        AbortController: 'readonly',
      },
    },
  },
);
