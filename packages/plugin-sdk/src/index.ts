/** Write a Kubernetes device plugin in 20 lines, for devmgr or a kubelet. */
export { writeCdiFile } from './cdi-file.ts';
export type { CdiFile, CdiFileOptions } from './cdi-file.ts';
export { cdiDocument, cdiName } from './cdi-spec.ts';
export type { CdiDeviceNode, CdiEdits, CdiHook, CdiIntelRdt, CdiMount, CdiSpec, CdiSpecDevice } from './cdi-spec.ts';
export { annotations, cdiDevice, containerResponse, deviceNode, env, mount } from './container-response.ts';
export type { ResponsePiece } from './container-response.ts';
export type { DeviceScan, DeviceSource } from './device-source.ts';
export type { DeviceInput, PluginDevice } from './plugin-device.ts';
export { HookError } from './lifecycle/hook-call.ts';
export type {
  DevicePhase,
  DeviceStatus,
  DriverInstall,
  DriverStatus,
  DriverVerdict,
  HealthReport,
  HealthVerdict,
  HookCall,
  LifecycleLimits,
  PluginLifecycle,
  ReleaseCall,
} from './lifecycle/lifecycle-spec.ts';
export { consoleLog, silentLog } from './plugin-log.ts';
export type { PluginLog } from './plugin-log.ts';
export type {
  CallInfo,
  Plugin,
  PluginBehaviour,
  PluginMethod,
  PluginPlacement,
  PluginState,
  PluginTiming,
  PreferenceRequest,
  RegistrationWay,
} from './plugin-spec.ts';
export { servePlugin } from './serve-plugin.ts';
export { terminationSignal } from './termination-signal.ts';

// Plugins that need no programming.
export { parseHostDeviceFile } from './host-device-file.ts';
export { devicesVariable, hostDevicePlugin } from './host-device-plugin.ts';
export type { BusSelection, HostDevice, HostDeviceGroup, HostDeviceOptions } from './host-device-plugin.ts';
export { SimulatedPlugin, simulate, simulatedPlugin } from './simulated-plugin.ts';
export { parseSimulation } from './simulation-file.ts';
export type { Simulation } from './simulation-file.ts';
export type { SimulatedDevice, SimulatedResource, SimulatedResourceInput } from './simulation-schema.ts';
export type { Lie, SimulatedCall, SimulatedStep, SimulatedStepInput } from './simulation-step.ts';
export { commandSimulation, listSimulations, serveSimulationControl } from './simulation-control.ts';
export type { SimulatedView } from './simulation-control.ts';
export { SIMULATION_PRESETS, simulationPreset } from './simulation-presets.ts';
export { hostDeviceSchema, simulationSchema } from './file-schemas.ts';
