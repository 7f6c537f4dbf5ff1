/**
 * Parley group chat for browsers and Node.
 *
 * @packageDocumentation
 */

export { Parley, type ParleyEvents, type ParleyOptions } from "./parley.js";
export { Group, type GroupEvents, type Reset } from "./group.js";
export { Outbox, kindOf, OUTBOX_MAX, type OutboxEvents, type OutgoingMessage, type Sent } from "./outbox.js";
export { Media, type Progress, type UploadOptions } from "./media.js";
export { Profiles } from "./profiles.js";
export type { HistoryPage, Page } from "./rest.js";
export type { CoreEvents, Stats } from "./core.js";
export {
  TIMES,
  type ConnectionState,
  type ConnectionTimes,
  type Frame,
  type StateChange,
  type WebSocketConstructor,
  type WebSocketLike,
} from "./connection.js";
export { MemoryStore, type Entry, type GroupRecord, type MessageType, type OutboxItem, type OutboxKey, type Saved, type Store } from "./store.js";
export { IndexedDbStore } from "./indexeddb.js";
export { ParleyError, type LocalErrorCode } from "./errors.js";
export { expiryOf, type GetToken } from "./token.js";
export { Emitter, type Listener } from "./emitter.js";
export { uuidv7 } from "./id.js";
export { fullJitter } from "./backoff.js";
export * from "./wire.js";
