import { RpcError, rpcCodeName } from './rpc-error.ts';

/**
 * The text a Go program would print for the error: `rpc error: code = Unavailable desc = …` for a failed call, the bare
 * message for everything else. Admission messages and events of the kubelet carry exactly this. (grpc-go: status.Error)
 */
export function goErrorText(error: unknown): string {
  if (error instanceof RpcError) return error.message;
  if (!(error instanceof Error)) return String(error);
  if ('code' in error && typeof error.code === 'number' && 'details' in error && typeof error.details === 'string') {
    return `rpc error: code = ${rpcCodeName(error.code)} desc = ${error.details}`;
  }
  return error.message;
}
