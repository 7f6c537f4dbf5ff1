/** One class for everything that goes wrong, so that a program looks in one place whether to try again. */

import type { ErrorCode, WireError } from "./wire.js";

/** What goes wrong on this side of the wire. */
export type LocalErrorCode =
  /** The server ended the connection for good, with a code that this version doesn't know. */
  | "closed"
  /** The connection ended before the reply came. */
  | "connection_lost"
  /** No answer in time. */
  | "timeout"
  /** `fetch` failed, or the upload did. */
  | "network"
  /** There is no connection, and the call can't wait for one. */
  | "not_connected"
  /** The outbox holds as much as it may. */
  | "outbox_full"
  /** The store failed. */
  | "storage"
  /** The token speaks for another user than the one whose data this is. */
  | "wrong_user"
  /** `getToken` failed, or took too long. */
  | "token"
  /** The blob to upload can't be read, or not any more. */
  | "unreadable"
  /** Checksums need `crypto.subtle`: https, or localhost. */
  | "insecure_context"
  /** The caller gave up. */
  | "aborted"
  /** The outbox item was discarded. */
  | "discarded";

/** An error with what a program needs to know about it. */
export class ParleyError extends Error {
  override readonly name = "ParleyError";
  /** For programs. Go by `retryable` for one that is unknown. */
  readonly code: ErrorCode | LocalErrorCode | (string & {});
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
  /** How long to wait before. */
  readonly retryAfterMs: number | undefined;
  /** The HTTP status, if it came by REST. */
  readonly status: number | undefined;
  /** More about it, for programs. */
  readonly details: Readonly<Record<string, string>>;

  constructor(
    code: ParleyError["code"],
    message: string,
    options: {
      retryable?: boolean;
      retryAfterMs?: number | undefined;
      status?: number | undefined;
      details?: Record<string, string> | undefined;
      cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.retryAfterMs = options.retryAfterMs;
    this.status = options.status;
    this.details = options.details ?? {};
  }

  /** @internal */
  static ofWire(error: WireError, status?: number): ParleyError {
    return new ParleyError(error.code, error.message, {
      retryable: error.retryable,
      retryAfterMs: error.retry_after_ms ?? undefined,
      details: error.details ?? undefined,
      status,
    });
  }

  /** @internal */
  static of(error: unknown, code: LocalErrorCode, retryable: boolean): ParleyError {
    if (error instanceof ParleyError) return error;
    const message = error instanceof Error ? error.message : String(error);
    return new ParleyError(code, message, { retryable, cause: error });
  }
}
