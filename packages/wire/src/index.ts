/** gRPC over unix sockets as the kubelet and device plugins speak it. */

export * as deviceplugin from './gen/deviceplugin/v1beta1/deviceplugin.ts';
export * as lifecycle from './gen/lifecycle/v1/lifecycle.ts';
export * as pluginregistration from './gen/pluginregistration/v1/registration.ts';
export * as podresources from './gen/podresources/v1/podresources.ts';
export * as podresourcesV1alpha1 from './gen/podresources/v1alpha1/podresources.ts';

// Calling.
export { createClient } from './rpc-client.ts';
export type { CallOptions, ClientOptions, RpcClient, RpcConnection } from './rpc-client.ts';
export {
  DevicePluginClientService,
  decodeContainerAllocateResponse,
  encodeContainerAllocateResponse,
} from './raw-allocate.ts';
export type { RawAllocateResponse } from './raw-allocate.ts';
export { probeUnix } from './unix-probe.ts';
export type { UnixProbe } from './unix-probe.ts';

// Serving.
export { addService, bindService } from './rpc-server.ts';
export type { CallContext, RpcHandlers, ServiceBinding } from './rpc-server.ts';
export { listenUnix } from './unix-server.ts';
export type { UnixServer, UnixServerOptions } from './unix-server.ts';

// Both.
export { RpcCode, RpcError, rpcCodeName } from './rpc-error.ts';
export { goErrorText } from './go-error-text.ts';
export { DEFAULT_MAX_RECEIVE_BYTES } from './limits.ts';
export { MAX_SOCKET_PATH_BYTES, SocketPathError } from './socket-path.ts';
export type { MethodShape, RequestOf, ResponseOf, ServiceShape } from './service.ts';
