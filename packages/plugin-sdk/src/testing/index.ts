/** For tests of plugins and of managers: real peers over real sockets whose behaviour a test decides. */
export { startFakeManager, removeSockets } from './fake-manager.ts';
export type { FakeManager, FakeManagerOptions } from './fake-manager.ts';
export { startFakePodResources } from './fake-pod-resources.ts';
export type { FakePodResources } from './fake-pod-resources.ts';
export { openSession } from './fake-session.ts';
export type { FakeSession, ReleaseOptions } from './fake-session.ts';
export { ScriptedPlugin, fail, hang, slow, startScriptedPlugin } from './scripted-plugin.ts';
export type {
  PluginScript,
  RecordedCall,
  RegisterOverrides,
  ScriptedAllocateResponse,
  ScriptedPluginOptions,
} from './scripted-plugin.ts';
export { until } from './until.ts';
