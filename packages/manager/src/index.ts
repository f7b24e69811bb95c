export { createApiClient, type ApiClient, type ApplyOutcome, type ManagerVersion } from './http/api-client.ts';
export type * from './ports.ts';
export { loadConfig, type ConfigSources, type DaemonConfig, type ResourceConfig } from './config.ts';
export { parseManifests, type Manifest, type ManifestError, type ParsedManifests } from './pods/manifest-parser.ts';
export { daemonPaths, startDaemon, type Daemon } from './daemon.ts';
