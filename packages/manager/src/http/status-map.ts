import { DevmgrError, ERROR_CODES, type ErrorCode, type Status } from '@devmgr/core';

/** How a failure travels over HTTP: the status code and the reason of Kubernetes' `Status` object. */
export interface HttpFailure {
  readonly httpStatus: number;
  readonly reason: string;
}

/** The one table between devmgr's error codes and HTTP. */
export const STATUS_OF_CODE = {
  ALREADY_EXISTS: { httpStatus: 409, reason: 'AlreadyExists' },
  BAD_REQUEST: { httpStatus: 400, reason: 'BadRequest' },
  CHECKPOINT_INVALID: { httpStatus: 500, reason: 'InternalError' },
  CONFIG_INVALID: { httpStatus: 500, reason: 'InternalError' },
  CONFLICT: { httpStatus: 409, reason: 'Conflict' },
  DEADLINE_EXCEEDED: { httpStatus: 504, reason: 'Timeout' },
  HOOK_FAILED: { httpStatus: 503, reason: 'ServiceUnavailable' },
  INTERNAL: { httpStatus: 500, reason: 'InternalError' },
  LISTEN_FAILED: { httpStatus: 500, reason: 'InternalError' },
  MANAGER_ALREADY_RUNNING: { httpStatus: 409, reason: 'Conflict' },
  MANAGER_UNREACHABLE: { httpStatus: 503, reason: 'ServiceUnavailable' },
  MANIFEST_INVALID: { httpStatus: 422, reason: 'Invalid' },
  NOT_FOUND: { httpStatus: 404, reason: 'NotFound' },
  PATH_TOO_LONG: { httpStatus: 500, reason: 'InternalError' },
  PERMISSION_DENIED: { httpStatus: 403, reason: 'Forbidden' },
  PLUGIN_FAILED: { httpStatus: 503, reason: 'ServiceUnavailable' },
  PLUGIN_INVALID: { httpStatus: 422, reason: 'Invalid' },
  POD_REJECTED: { httpStatus: 403, reason: 'Forbidden' },
  ROOT_DIR_UNUSABLE: { httpStatus: 500, reason: 'InternalError' },
  STATE_WRITE_FAILED: { httpStatus: 503, reason: 'ServiceUnavailable' },
  USAGE: { httpStatus: 400, reason: 'BadRequest' },
  USER_NAMESPACE_UNAVAILABLE: { httpStatus: 500, reason: 'InternalError' },
} as const satisfies Record<ErrorCode, HttpFailure>;

/** Failures of HTTP itself, which have no code of their own: to a client they are bad requests. */
export const HTTP_FAILURES = {
  expired: { httpStatus: 410, reason: 'Expired' },
  forbidden: { httpStatus: 403, reason: 'Forbidden' },
  methodNotAllowed: { httpStatus: 405, reason: 'MethodNotAllowed' },
  tooLarge: { httpStatus: 413, reason: 'RequestEntityTooLarge' },
  unsupportedMediaType: { httpStatus: 415, reason: 'UnsupportedMediaType' },
} as const satisfies Record<string, HttpFailure>;

/** A failure of the second kind on its way out of a handler. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly failure: HttpFailure;

  constructor(failure: HttpFailure, message: string) {
    super(message);
    this.failure = failure;
  }
}

/** The Status object for whatever was thrown. What devmgr did not foresee is an InternalError that says so. */
export function statusOf(error: unknown): Status {
  if (error instanceof HttpError) return status(error.failure, error.message);
  if (error instanceof DevmgrError) {
    const { code, remedy } = error;
    return { ...status(STATUS_OF_CODE[code], error.message), details: { code, remedy } };
  }
  const text = error instanceof Error ? error.message : String(error);
  return {
    ...status(STATUS_OF_CODE.INTERNAL, `the request failed inside the manager: ${text}`),
    details: { code: 'INTERNAL', remedy: ERROR_CODES.INTERNAL.remedy },
  };
}

/**
 * The other way round, for clients: the error a Status stands for. `details.code` says exactly which; without it (an
 * answer of Kubernetes, or of another version of devmgr) the reason decides, then the HTTP status.
 */
export function errorOf(answer: Status): DevmgrError {
  const { details } = answer;
  const code = details?.['code'];
  const remedy = details?.['remedy'];
  return new DevmgrError(
    isErrorCode(code) ? code : codeOfReason(answer.reason, answer.code),
    answer.message,
    typeof remedy === 'string' ? { remedy } : {},
  );
}

/** Whether a parsed body is a Status object. */
export function isStatus(value: unknown): value is Status {
  return (
    typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'Status' && 'message' in value
  );
}

function status(failure: HttpFailure, message: string): Status {
  return {
    apiVersion: 'v1',
    kind: 'Status',
    status: 'Failure',
    message,
    reason: failure.reason,
    code: failure.httpStatus,
  };
}

function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERROR_CODES, value);
}

/** The code for a reason that several codes share is the one a client most likely met. */
function codeOfReason(reason: string, httpStatus: number): ErrorCode {
  const byReason: Partial<Record<string, ErrorCode>> = {
    AlreadyExists: 'ALREADY_EXISTS',
    BadRequest: 'BAD_REQUEST',
    Conflict: 'CONFLICT',
    Forbidden: 'PERMISSION_DENIED',
    Invalid: 'MANIFEST_INVALID',
    NotFound: 'NOT_FOUND',
    Timeout: 'DEADLINE_EXCEEDED',
  };
  return byReason[reason] ?? (httpStatus >= 400 && httpStatus < 500 ? 'BAD_REQUEST' : 'INTERNAL');
}
