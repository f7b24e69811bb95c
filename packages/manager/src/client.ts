/**
 * What a program beside the daemon needs of this package, apart from the daemon: loading the whole package costs a
 * command line several times what it does itself.
 */
export { createApiClient, type ApiClient, type ApplyOutcome, type ManagerVersion } from './http/api-client.ts';
export { parseManifests, type Manifest, type ManifestError, type ParsedManifests } from './pods/manifest-parser.ts';
export { readProcess } from './process-identity.ts';
