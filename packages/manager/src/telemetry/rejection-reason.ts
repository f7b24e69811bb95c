/** Resources whose `OutOf…` reason the kubelet counts under its own name. */
const NATIVE_SHORTAGES = new Set(['OutOfcpu', 'OutOfmemory', 'OutOfephemeral-storage', 'OutOfpods']);

/** Other reasons a pod can be refused for here. */
const KNOWN_REASONS = new Set(['TopologyAffinityError', 'UnexpectedAdmissionError']);

/**
 * The label value an admission reason is counted under: the reason itself when it is one of a fixed set,
 * `OutOfExtendedResources` for a shortage of any extended resource, else `Other`, so that the number of series stays
 * bounded. (kubelet: admission rejection metric)
 */
export function rejectionReasonLabel(reason: string): string {
  if (KNOWN_REASONS.has(reason) || NATIVE_SHORTAGES.has(reason)) return reason;
  return reason.startsWith('OutOf') ? 'OutOfExtendedResources' : 'Other';
}
