/**
 * What is to be sent: stored first, sent one after another in each group, repeated with the same `client_message_id` until
 * the server has said what became of it.
 *
 * One at a time in a group, since a refusal of one (say, too many a second) must not let a later one pass it.
 */

import { Waits } from "./backoff.js";
import { byteLength, FRAME_OVERHEAD_BYTES, type Connection } from "./connection.js";
import { Emitter } from "./emitter.js";
import { ParleyError } from "./errors.js";
import { uuidv7 } from "./id.js";
import type { Media, Progress } from "./media.js";
import { keyOf, type MessageType, type OutboxItem, type OutboxKey, type Store } from "./store.js";
import type { Accepted, MessageBody } from "./wire.js";

/** What to send. */
export interface OutgoingMessage {
  /** The text, or a caption. */
  text?: string | undefined;
  /** A picture, video or audio; uploaded first, also later if there is no connection. */
  media?: Blob | undefined;
  /** Its type, if the blob doesn't say. */
  content_type?: string | undefined;
  /** Already uploaded by `media.upload`; needs `type`. */
  media_url?: string | undefined;
  type?: MessageType | undefined;
  /** 1 to 64 bytes; made if not given. The same id again is the same message. */
  client_message_id?: string | undefined;
}

/** A message that is in the log. By the reply or by the stream, whichever comes first. */
export type Sent = Pick<
  Accepted,
  "group_id" | "message_id" | "client_message_id" | "seq" | "epoch" | "position" | "created_at"
>;

/** What happens to an item. */
export interface OutboxEvents {
  /** It is in the outbox, and stored. */
  queued: OutboxItem;
  progress: { item: OutboxItem } & Progress;
  /** It is in the log. */
  sent: { item: OutboxItem; sent: Sent };
  /** It was refused for good; it stays until `retry` or `discard`. */
  failed: { item: OutboxItem; error: ParleyError };
  discarded: OutboxItem;
}

/** Items that may wait at once. */
export const OUTBOX_MAX = 1_000;
const RETRY_BASE_MS = 500;
const RETRY_MAX_MS = 30_000;
/** The object is gone, or isn't what was to be uploaded: another upload may mend it. */
const UPLOAD_ANEW = ["media_not_uploaded", "media_mismatch"];
/** So often the object store may refuse an upload for what may pass. */
const REFUSALS_MAX = 8;
/** Nothing against the message: the connection ends, or needs another token, and says so itself. */
const NOT_ITS_FAULT = ["aborted", "token", "token_expired", "unauthenticated"];

interface Waiter {
  resolve: (sent: Sent) => void;
  reject: (error: ParleyError) => void;
}

interface OutboxOptions {
  store: Store;
  connection: Connection;
  media: Media;
  random: () => number;
  /** Runs what touches the store, one after another. */
  inOrder: <T>(step: () => Promise<T>) => Promise<T>;
  /** The store failed where nobody waits for it. */
  failed: (error: ParleyError) => void;
}

export class Outbox extends Emitter<OutboxEvents> {
  readonly #options: OutboxOptions;
  readonly #items = new Map<string, OutboxItem>();
  readonly #waiters = new Map<string, Waiter[]>();
  /** Those that the store hasn't taken yet. */
  readonly #storing = new Set<OutboxItem>();
  readonly #uploads = new Map<OutboxItem, AbortController>();
  /** How often an upload was refused. */
  readonly #refusals = new WeakMap<OutboxItem, number>();
  /** Groups in which something is under way. */
  readonly #busy = new Set<string>();
  /** Groups that wait for their next try. */
  readonly #waits: Waits;
  #ordinal = 0;
  #isOpen = false;
  #frameBytesMax = Number.POSITIVE_INFINITY;

  /** @internal */
  constructor(options: OutboxOptions) {
    super();
    this.#options = options;
    this.#waits = new Waits(RETRY_BASE_MS, RETRY_MAX_MS, options.random);
  }

  /** Everything that isn't in the log yet, in the order in which it goes out. */
  get items(): readonly OutboxItem[] {
    return [...this.#items.values()].sort((one, other) => one.ordinal - other.ordinal);
  }

  /** Tries a refused one again. */
  retry(key: OutboxKey): void {
    const item = this.#items.get(keyOf(key));
    if (!item?.failure) return;
    item.failure = undefined;
    this.#refusals.delete(item);
    // If this fails it is a refused one again after a restart.
    this.#store(item).catch((error: unknown) => this.#options.failed(ParleyError.of(error, "storage", true)));
    this.emit("queued", item);
    this.#pump(item.group_id);
  }

  /** Lets one go. If it was under way, it may be in the log nevertheless. */
  async discard(key: OutboxKey): Promise<void> {
    const item = this.#items.get(keyOf(key));
    if (!item) return;
    const removed = this.#remove(item);
    this.#settle(item, (waiter) => waiter.reject(new ParleyError("discarded", "the message was discarded")));
    this.emit("discarded", item);
    try {
      await removed;
    } catch (error) {
      throw ParleyError.of(error, "storage", true);
    } finally {
      this.#goOn(item.group_id);
    }
  }

  /** @internal What an earlier run left. */
  restore(items: readonly OutboxItem[]): void {
    for (const item of items) {
      if (this.#items.has(keyOf(item))) continue;
      this.#items.set(keyOf(item), item);
      this.#ordinal = Math.max(this.#ordinal, item.ordinal);
      this.emit("queued", item);
    }
  }

  /** @internal The server takes messages from now on. */
  open(frameBytesMax: number): void {
    this.#frameBytesMax = frameBytesMax;
    this.#isOpen = true;
    for (const group of new Set(Array.from(this.#items.values(), (item) => item.group_id))) this.#pump(group);
  }

  /** @internal There is no connection. Uploads need none, and go on unless it isn't to come back. */
  close(isForGood: boolean): void {
    this.#isOpen = false;
    this.#waits.resetAll();
    if (isForGood) for (const upload of this.#uploads.values()) upload.abort();
  }

  /** @internal One of the user's own messages came by the stream: the reply isn't needed any more. */
  seen(message: MessageBody): void {
    const item = this.#items.get(keyOf(message));
    if (item) void this.#sent(item, message);
  }

  /** @internal The group is gone. */
  async dropGroup(groupId: string): Promise<void> {
    await Promise.all(this.items.filter((item) => item.group_id === groupId).map((item) => this.discard(item)));
  }

  /** @internal */
  async send(groupId: string, message: OutgoingMessage): Promise<Sent> {
    const item = this.#item(groupId, message);
    const key = keyOf(item);
    // A refused one left no trace with the server: what comes under its id now takes its place.
    if (this.#items.get(key)?.failure) await this.discard(item);
    const isKnown = this.#items.has(key);
    if (!isKnown && this.#items.size >= OUTBOX_MAX) {
      throw new ParleyError("outbox_full", `${OUTBOX_MAX} messages wait already`, { retryable: true });
    }
    const sent = new Promise<Sent>((resolve, reject) => {
      this.#waiters.set(key, [...(this.#waiters.get(key) ?? []), { resolve, reject }]);
    });
    if (isKnown) return sent;
    sent.catch(() => {}); // it may be settled before its sender has it
    this.#items.set(key, item);
    this.#storing.add(item);
    const failed = await this.#store(item).then(() => undefined, (error: unknown) => ParleyError.of(error, "storage", true));
    this.#storing.delete(item);
    // One that was let go meanwhile is settled, and its id may be another's.
    if (this.#has(item)) {
      if (!failed) this.emit("queued", item);
      else {
        this.#items.delete(key);
        this.#settle(item, (waiter) => waiter.reject(failed));
      }
    }
    this.#pump(groupId);
    return sent;
  }

  #item(groupId: string, message: OutgoingMessage): OutboxItem {
    const contentType = message.content_type ?? message.media?.type ?? "";
    const type = message.type ?? (message.media ? kindOf(contentType) : "text");
    return {
      group_id: groupId,
      client_message_id: message.client_message_id ?? uuidv7(),
      type,
      text: message.text,
      media_url: message.media_url,
      media: message.media && { data: message.media, content_type: contentType },
      ordinal: ++this.#ordinal,
      created_at: new Date().toISOString(),
    };
  }

  #pump(group: string): void {
    if (!this.#isOpen || this.#busy.has(group) || this.#waits.has(group)) return;
    const next = this.items.find((item) => item.group_id === group && !item.failure);
    // What the store refuses is given back to its sender, so it mustn't go out before.
    if (!next || this.#storing.has(next)) return;
    this.#busy.add(group);
    void this.#trySend(next).then((failure) => {
      this.#busy.delete(group);
      if (failure) this.#waits.failed(group, failure.retryAfterMs, () => this.#pump(group));
      else this.#pump(group);
    });
  }

  /** What the group waited for is over. */
  #goOn(group: string): void {
    this.#waits.reset(group);
    this.#pump(group);
  }

  /** Why to try again later, if it is so. */
  async #trySend(item: OutboxItem): Promise<ParleyError | undefined> {
    let refused: string | undefined;
    for (;;) {
      try {
        await this.#upload(item, refused);
        if (!this.#has(item)) return undefined; // seen in the stream, or discarded
        const accepted = await this.#options.connection.request("send_group_message", this.#body(item));
        await this.#sent(item, accepted);
        return undefined;
      } catch (error) {
        const failure = ParleyError.of(error, "network", true);
        // Goes on with the next connection, or was dropped: what is stored or uploaded now would come back.
        if (!this.#isOpen || !this.#has(item)) return undefined;
        if (UPLOAD_ANEW.includes(failure.code) && item.media && item.media_url && refused === undefined) {
          refused = item.media_url;
          item.media_url = undefined; // the refused send left no trace, so another object may take its place
          continue;
        }
        if (this.#mayPass(item, failure)) return failure;
        await this.#failed(item, failure);
        return undefined;
      }
    }
  }

  #mayPass(item: OutboxItem, { code, retryable, status = 500 }: ParleyError): boolean {
    if (NOT_ITS_FAULT.includes(code)) return true;
    if (code !== "network" || status >= 500) return retryable;
    const refusals = (this.#refusals.get(item) ?? 0) + 1;
    this.#refusals.set(item, refusals);
    return retryable && refusals < REFUSALS_MAX;
  }

  async #upload(item: OutboxItem, refused: string | undefined): Promise<void> {
    if (!item.media || item.media_url) return;
    const upload = new AbortController();
    this.#uploads.set(item, upload);
    const uploading = this.#options.media.upload({
      group_id: item.group_id,
      data: item.media.data,
      content_type: item.media.content_type,
      onProgress: (progress) => this.emit("progress", { item, ...progress }),
      signal: upload.signal,
    });
    const { media_url } = await uploading.finally(() => this.#uploads.delete(item));
    if (!this.#has(item)) return;
    // Before it is sent: the same id must go with the same content, whatever happens in between, and whoever sends it too.
    const { store, inOrder } = this.#options;
    item.media_url = await inOrder(() => store.noteUpload(item, media_url, refused));
    // Another tab sent it or let it go; if it was sent, the stream brings it.
    if (!item.media_url) await this.discard(item);
  }

  #body(item: OutboxItem) {
    const { group_id, client_message_id, type, text, media_url } = item;
    const body = { group_id, client_message_id, type, ...(text !== undefined && { text }), ...(media_url && { media_url }) };
    // A frame that is too large costs the connection.
    if (byteLength(JSON.stringify(body)) + FRAME_OVERHEAD_BYTES > this.#frameBytesMax) {
      throw new ParleyError("too_large", "the message is larger than the server takes");
    }
    return body;
  }

  async #sent(item: OutboxItem, sent: Sent): Promise<void> {
    if (!this.#has(item)) return;
    const removed = this.#remove(item);
    this.#settle(item, (waiter) => waiter.resolve(sent));
    this.emit("sent", { item, sent });
    this.#goOn(item.group_id);
    // If this fails it is sent once more after a restart, which the server recognises.
    await removed.catch(() => {});
  }

  async #failed(item: OutboxItem, error: ParleyError): Promise<void> {
    item.failure = { code: error.code, message: error.message };
    const stored = this.#store(item);
    this.#settle(item, (waiter) => waiter.reject(error));
    this.emit("failed", { item, error });
    this.#goOn(item.group_id);
    // If this fails it is tried once more after a restart, and refused again.
    await stored.catch(() => {});
  }

  /** Whether it is still to be sent: it may have been seen in the stream, or discarded. */
  #has(item: OutboxItem): boolean {
    return this.#items.get(keyOf(item)) === item;
  }

  #store(item: OutboxItem): Promise<void> {
    return this.#options.inOrder(() => this.#options.store.putOutbox(item));
  }

  #remove(item: OutboxItem): Promise<void> {
    this.#items.delete(keyOf(item));
    this.#uploads.get(item)?.abort();
    return this.#options.inOrder(() => this.#options.store.removeOutbox(item));
  }

  #settle(item: OutboxItem, tell: (waiter: Waiter) => void): void {
    const waiters = this.#waiters.get(keyOf(item)) ?? [];
    this.#waiters.delete(keyOf(item));
    for (const waiter of waiters) tell(waiter);
  }
}

/** Which kind of message a content type makes. */
export function kindOf(contentType: string): MessageType {
  const kind = contentType.split("/")[0];
  if (kind === "image" || kind === "video" || kind === "audio") return kind;
  throw new ParleyError("media_mismatch", `${contentType || "an unknown type"} is no picture, video or audio`);
}
