import type * as grpc from '@grpc/grpc-js';

/** One method of a generated service definition, as far as this package looks at it. */
export interface MethodShape {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestSerialize: (value: never) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => unknown;
  readonly responseSerialize: (value: never) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => unknown;
}

/** A generated service definition: methods by their camelCase names. */
export type ServiceShape = Readonly<Record<string, MethodShape>>;

/** The message a method takes. */
export type RequestOf<M> = M extends { readonly requestDeserialize: (bytes: Buffer) => infer T } ? T : never;

/** The message a method answers with, once or (when `responseStream` is true) many times. */
export type ResponseOf<M> = M extends { readonly responseDeserialize: (bytes: Buffer) => infer T } ? T : never;

/** Message types are settled by {@link RpcClient} and {@link RpcHandlers}; behind them every message is `unknown`. */
export type UntypedMethod = grpc.MethodDefinition<unknown, unknown>;

/**
 * The methods of a service, untyped.
 *
 * @throws Error for methods with a request stream: none of the APIs between kubelet and plugins has one.
 */
export function methodsOf(service: ServiceShape): [name: string, method: UntypedMethod][] {
  return Object.entries(service).map(([name, method]) => {
    if (method.requestStream) throw new Error(`${method.path}: request streams are not supported`);
    return [name, method as unknown as UntypedMethod];
  });
}
