/**
 * How large a received message may be unless a caller says otherwise: 256 MiB, room for some four million devices in
 * one list. gRPC's own default of 4 MiB breaks near 75,000 devices.
 */
export const DEFAULT_MAX_RECEIVE_BYTES = 256 * 1024 * 1024;
