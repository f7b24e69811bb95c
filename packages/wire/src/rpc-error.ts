/**
 * The status codes of gRPC, under the names Go gives them: they are what operators know from the kubelet's log.
 * (gRPC: statuscodes.md; grpc-go: codes.Code.String)
 */
export const RpcCode = {
  OK: 0,
  Canceled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const;

const NAMES = new Map<number, string>(Object.entries(RpcCode).map(([name, code]) => [code, name]));

/** The name of a status code, as Go prints it: `Unavailable`, or `Code(99)` for one that does not exist. */
export function rpcCodeName(code: number): string {
  return NAMES.get(code) ?? `Code(${String(code)})`;
}

/**
 * A call that ended with a status other than OK.
 *
 * Clients get one from every failed call. Handlers throw one to choose the status; whatever else they throw reaches
 * the caller as Unknown with the error's message, as a plain Go error does.
 */
export class RpcError extends Error {
  override readonly name = 'RpcError';
  /** gRPC status code, see {@link RpcCode}. */
  readonly code: number;
  /** The text that came with the status, unchanged. `message` is the same in Go's wording. */
  readonly details: string;

  constructor(code: number, details: string, options?: ErrorOptions) {
    super(`rpc error: code = ${rpcCodeName(code)} desc = ${details}`, options);
    this.code = code;
    this.details = details;
  }
}
