import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { ContainerAllocateResponse, DevicePluginService } from './gen/deviceplugin/v1beta1/deviceplugin.ts';

/** AllocateResponse with each ContainerAllocateResponse left as it came, so that fields of newer plugins survive. */
export interface RawAllocateResponse {
  readonly containerResponses: readonly Uint8Array[];
}

const CONTAINER_RESPONSES = 1;

function decodeRawAllocateResponse(bytes: Uint8Array): RawAllocateResponse {
  const reader = new BinaryReader(bytes);
  const containerResponses: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [fieldNumber, wireType] = reader.tag();
    if (fieldNumber === CONTAINER_RESPONSES && wireType === WireType.LengthDelimited) {
      containerResponses.push(Uint8Array.from(reader.bytes())); // a copy: a view would hold the whole received buffer
    } else {
      reader.skip(wireType, fieldNumber);
    }
  }
  return { containerResponses };
}

function encodeRawAllocateResponse(message: RawAllocateResponse): Uint8Array {
  const writer = new BinaryWriter();
  for (const response of message.containerResponses) {
    writer.tag(CONTAINER_RESPONSES, WireType.LengthDelimited).bytes(response);
  }
  return writer.finish();
}

/**
 * The DevicePlugin service as its client should see it: like the generated one, but Allocate answers with undecoded
 * bytes for each container. They go into the checkpoint as they are; the generated decoder would drop what it does not
 * know. (kubelet: device manager checkpoint, AllocResp)
 */
export const DevicePluginClientService = {
  ...DevicePluginService,
  allocate: {
    ...DevicePluginService.allocate,
    responseSerialize: (value: RawAllocateResponse): Buffer => Buffer.from(encodeRawAllocateResponse(value)),
    responseDeserialize: (value: Buffer): RawAllocateResponse => decodeRawAllocateResponse(value),
  },
} as const;

/**
 * Reads one container's Allocate answer, for merging into container options.
 *
 * @throws Error when the bytes are not a ContainerAllocateResponse.
 */
export function decodeContainerAllocateResponse(bytes: Uint8Array): ContainerAllocateResponse {
  try {
    return ContainerAllocateResponse.decode(bytes);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`ContainerAllocateResponse cannot be decoded: ${reason}`, { cause });
  }
}

/** The wire form of one container's Allocate answer. */
export function encodeContainerAllocateResponse(message: ContainerAllocateResponse): Uint8Array {
  return ContainerAllocateResponse.encode(message).finish();
}
