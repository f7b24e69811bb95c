import { invalidResourceName } from './messages.ts';

const DOMAIN_LABEL = '[a-z0-9](?:[-a-z0-9]*[a-z0-9])?';
const SUBDOMAIN = new RegExp(`^${DOMAIN_LABEL}(?:\\.${DOMAIN_LABEL})*$`);
const NAME_PART = /^(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;

/** What the API server puts before a resource name in a quota; the length limit of the domain includes it. */
const QUOTA_PREFIX = 'requests.';
/** Names with this in them belong to Kubernetes itself. */
const NATIVE_PART = 'kubernetes.io/';
const MAX_DOMAIN_LENGTH = 253;
const MAX_NAME_LENGTH = 63;

export type ResourceNameCheck = { readonly ok: true } | { readonly ok: false; readonly message: string };

/** Whether a device plugin may register this name. (Kubernetes: IsExtendedResourceName) */
export function isExtendedResourceName(name: string): boolean {
  return !isNativeResourceName(name) && !name.startsWith(QUOTA_PREFIX) && isQualifiedName(QUOTA_PREFIX + name);
}

/** Names of Kubernetes' own resources: `cpu`, `memory`, and all with `kubernetes.io/` in them. (Kubernetes: IsNativeResource) */
export function isNativeResourceName(name: string): boolean {
  return !name.includes('/') || name.includes(NATIVE_PART);
}

/** As {@link isExtendedResourceName}, with the kubelet's text for a refusal. */
export function checkResourceName(name: string): ResourceNameCheck {
  return isExtendedResourceName(name) ? { ok: true } : { ok: false, message: invalidResourceName(name) };
}

/** `[domain/]name` as labels and resources are named. (Kubernetes: IsQualifiedName) */
export function isQualifiedName(text: string): boolean {
  const parts = text.split('/');
  const name = parts.at(-1) ?? '';
  if (parts.length > 2 || name.length > MAX_NAME_LENGTH || !NAME_PART.test(name)) return false;
  return parts.length === 1 || isDnsSubdomain(parts[0] ?? '');
}

/** RFC 1123 subdomain: lower case labels joined by dots, at most 253 characters. */
export function isDnsSubdomain(text: string): boolean {
  return text.length <= MAX_DOMAIN_LENGTH && SUBDOMAIN.test(text);
}

/** RFC 1123 label: lower case letters, digits and inner dashes, at most 63 characters. */
export function isDnsLabel(text: string): boolean {
  return text.length <= MAX_NAME_LENGTH && !text.includes('.') && SUBDOMAIN.test(text);
}
