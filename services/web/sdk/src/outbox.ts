/**
 * What is to be sent: stored first, sent one after another in each group, repeated with the same `client_message_id` until
 * the server has said what became of it.
 *
 * One at a time in a group, since a refusal of one (say, too many a second) must not let a later one pass it.
 */

import { fullJitter } from "./backoff.js";
import type { Connection } from "./connection.js";
import { byteLength } from "./connection.js";
import { Emitter } from "./emitter.js";
import { ParleyError } from "./errors.js";
import { uuidv7 } from "./id.js";
import type { Media, Progress } from "./media.js";
import type { MessageType, OutboxItem, Store } from "./store.js";
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
}

export class Outbox extends Emitter<OutboxEvents> {
  readonly #options: OutboxOptions;
  readonly #items = new Map<string, OutboxItem>();
  readonly #waiters = new Map<string, Waiter[]>();
  /** Groups in which something is under way. */
  readonly #busy = new Set<string>();
  #ordinal = 0;
  #isOpen = false;
  #frameBytesMax = Number.POSITIVE_INFINITY;

  /** @internal */
  constructor(options: OutboxOptions) {
    super();
    this.#options = options;
  }

  /** Everything that isn't in the log yet, in the order in which it goes out. */
  get items(): readonly OutboxItem[] {
    return [...this.#items.values()].sort((one, other) => one.ordinal - other.ordinal);
  }

  /** Tries a refused one again. */
  retry(clientMessageId: string): void {
    const item = this.#items.get(clientMessageId);
    if (!item?.failure) return;
    item.failure = undefined;
    void this.#store(item);
    this.emit("queued", item);
    this.#pump(item.group_id);
  }

  /** Lets one go. If it was under way, it may be in the log nevertheless. */
  async discard(clientMessageId: string): Promise<void> {
    const item = this.#items.get(clientMessageId);
    if (!item) return;
    await this.#remove(item);
    this.#settle(clientMessageId, (waiter) => waiter.reject(new ParleyError("discarded", "the message was discarded")));
    this.emit("discarded", item);
  }

  /** @internal What an earlier run left. */
  restore(items: readonly OutboxItem[]): void {
    for (const item of items) {
      if (this.#items.has(item.client_message_id)) continue;
      this.#items.set(item.client_message_id, item);
      this.#ordinal = Math.max(this.#ordinal, item.ordinal);
      this.emit("queued", item);
    }
  }

  /** @internal The server takes messages from now on. */
  open(frameBytesMax: number | undefined): void {
    this.#frameBytesMax = frameBytesMax || Number.POSITIVE_INFINITY;
    this.#isOpen = true;
    for (const group of new Set(Array.from(this.#items.values(), (item) => item.group_id))) this.#pump(group);
  }

  /** @internal There is no connection. */
  close(): void {
    this.#isOpen = false;
  }

  /** @internal A message came by the stream: if it is one of ours, the reply isn't needed any more. */
  seen(message: MessageBody): void {
    const item = this.#items.get(message.client_message_id);
    if (item?.group_id === message.group_id) void this.#sent(item, message);
  }

  /** @internal The group is gone. */
  async dropGroup(groupId: string): Promise<void> {
    for (const item of this.items) if (item.group_id === groupId) await this.discard(item.client_message_id);
  }

  /** @internal */
  async send(groupId: string, message: OutgoingMessage): Promise<Sent> {
    if (this.#items.size >= OUTBOX_MAX) {
      throw new ParleyError("outbox_full", `${OUTBOX_MAX} messages wait already`, { retryable: true });
    }
    const item = this.#item(groupId, message);
    const known = this.#items.get(item.client_message_id);
    const sent = new Promise<Sent>((resolve, reject) => {
      const waiters = this.#waiters.get(item.client_message_id) ?? [];
      this.#waiters.set(item.client_message_id, [...waiters, { resolve, reject }]);
    });
    if (known) return sent;
    this.#items.set(item.client_message_id, item);
    try {
      await this.#store(item);
    } catch (error) {
      this.#items.delete(item.client_message_id);
      this.#waiters.delete(item.client_message_id);
      throw ParleyError.of(error, "storage", true);
    }
    this.emit("queued", item);
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
    if (!this.#isOpen || this.#busy.has(group)) return;
    const next = this.items.find((item) => item.group_id === group && !item.failure);
    if (!next) return;
    this.#busy.add(group);
    void this.#trySend(next).then((retryMs) => {
      const goOn = () => {
        this.#busy.delete(group);
        this.#pump(group);
      };
      if (retryMs === 0) goOn();
      else setTimeout(goOn, retryMs);
    });
  }

  /** How long to wait before the next try in this group. */
  async #trySend(item: OutboxItem): Promise<number> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        if (this.#items.get(item.client_message_id) !== item) return 0; // seen in the stream, or discarded
        await this.#upload(item);
        const accepted = await this.#options.connection.request("send_group_message", this.#body(item));
        await this.#sent(item, accepted);
        return 0;
      } catch (error) {
        const failure = ParleyError.of(error, "network", true);
        if (!this.#isOpen) return 0; // goes on with the next connection
        if (failure.code === "media_not_uploaded" && item.media && item.media_url && attempt === 0) {
          item.media_url = undefined; // the object is gone; the refused send left no trace, so another may take its place
          continue;
        }
        if (failure.retryable) {
          return failure.retryAfterMs ?? fullJitter(attempt + 1, RETRY_BASE_MS, RETRY_MAX_MS, this.#options.random);
        }
        await this.#failed(item, failure);
        return 0;
      }
    }
  }

  async #upload(item: OutboxItem): Promise<void> {
    if (!item.media || item.media_url) return;
    const { media_url } = await this.#options.media.upload({
      group_id: item.group_id,
      data: item.media.data,
      content_type: item.media.content_type,
      onProgress: (progress) => this.emit("progress", { item, ...progress }),
    });
    item.media_url = media_url;
    // Before it is sent: the same id must go with the same content, whatever happens in between.
    await this.#store(item);
  }

  #body(item: OutboxItem) {
    const { group_id, client_message_id, type, text, media_url } = item;
    const body = { group_id, client_message_id, type, ...(text !== undefined && { text }), ...(media_url && { media_url }) };
    // A frame that is too large costs the connection.
    const overhead = 128;
    if (byteLength(JSON.stringify(body)) + overhead > this.#frameBytesMax) {
      throw new ParleyError("too_large", "the message is larger than the server takes");
    }
    return body;
  }

  async #sent(item: OutboxItem, sent: Sent): Promise<void> {
    if (this.#items.get(item.client_message_id) !== item) return;
    this.#items.delete(item.client_message_id);
    this.#settle(item.client_message_id, (waiter) => waiter.resolve(sent));
    this.emit("sent", { item, sent });
    // If this fails it is sent once more after a restart, which the server recognises.
    await this.#remove(item).catch(() => {});
  }

  async #failed(item: OutboxItem, error: ParleyError): Promise<void> {
    item.failure = { code: error.code, message: error.message };
    await this.#store(item).catch(() => {});
    this.#settle(item.client_message_id, (waiter) => waiter.reject(error));
    this.emit("failed", { item, error });
  }

  #store(item: OutboxItem): Promise<void> {
    return this.#options.inOrder(() => this.#options.store.putOutbox(item));
  }

  #remove(item: OutboxItem): Promise<void> {
    this.#items.delete(item.client_message_id);
    return this.#options.inOrder(() => this.#options.store.removeOutbox(item.client_message_id));
  }

  #settle(clientMessageId: string, tell: (waiter: Waiter) => void): void {
    const waiters = this.#waiters.get(clientMessageId) ?? [];
    this.#waiters.delete(clientMessageId);
    for (const waiter of waiters) tell(waiter);
  }
}

/** Which kind of message a content type makes. */
export function kindOf(contentType: string): MessageType {
  const kind = contentType.split("/")[0];
  if (kind === "image" || kind === "video" || kind === "audio") return kind;
  throw new ParleyError("media_mismatch", `${contentType || "an unknown type"} is no picture, video or audio`);
}
