/**
 * What survives: how far each group was seen, its newest events, and what is still to be sent.
 *
 * Invariant: a group's `seq` and the events up to it are written in one step, so that nothing is acknowledged or skipped
 * that isn't there after a crash.
 */

import type { GroupEventBody, ListedGroup, MessageBody } from "./wire.js";

/** An event of a group, as it came. Messages and group events share the `seq` space. */
export type Entry =
  | { event: "group_message"; data: MessageBody; bytes: number }
  | { event: "group_event"; data: GroupEventBody; bytes: number };

/** How far a group was seen on this device, and what is known of it. */
export interface GroupRecord {
  group_id: string;
  /** The incarnation of the log that `seq` belongs to. */
  epoch: string;
  /** The last event that this device has. */
  seq: number;
  head_seq: number;
  /** The member's cursors, as last heard. */
  delivered_seq: number;
  read_seq: number;
  /** Read here, but not yet known to the server. */
  read_wanted?: number | undefined;
  unread: number;
  /** Name, owner and so on, as last heard. */
  info?: ListedGroup | undefined;
}

/** The kinds of messages. */
export type MessageType = "text" | "image" | "video" | "audio";

/** A message that isn't in the log yet. */
export interface OutboxItem {
  group_id: string;
  client_message_id: string;
  type: MessageType;
  text?: string | undefined;
  /** Once it is uploaded. */
  media_url?: string | undefined;
  /** What is to be uploaded first. */
  media?: { data: Blob; content_type: string } | undefined;
  /** In which order the items go out. */
  ordinal: number;
  created_at: string;
  /** Refused for good: kept until it is tried again or discarded. */
  failure?: { code: string; message: string } | undefined;
}

/** What names an item: the same id in another group is another message. */
export type OutboxKey = Pick<OutboxItem, "group_id" | "client_message_id">;

/** The key as one string; a group's id holds no space. */
export const keyOf = ({ group_id, client_message_id }: OutboxKey): string => `${group_id} ${client_message_id}`;

/** What a store gives back at a start. */
export interface Saved {
  groups: GroupRecord[];
  outbox: OutboxItem[];
}

/** Where it is kept. Calls are made one after another. */
export interface Store {
  load(): Promise<Saved>;
  /**
   * In one step: the record, events added (or overwritten, by `seq`), events before `keepFrom` removed.
   */
  saveGroup(record: GroupRecord, entries: readonly Entry[], keepFrom: number): Promise<void>;
  /** The record and the events. */
  removeGroup(groupId: string): Promise<void>;
  /** The newest events of a group, oldest first. */
  entries(groupId: string, limit: number): Promise<Entry[]>;
  putOutbox(item: OutboxItem): Promise<void>;
  /**
   * In one step, since another tab may send the same item: notes what was uploaded for it. Gives the URL to send it with:
   * another one if that was noted before (and isn't the `refused` one), none if the item isn't there any more.
   */
  noteUpload(item: OutboxKey, mediaUrl: string, refused: string | undefined): Promise<string | undefined>;
  removeOutbox(item: OutboxKey): Promise<void>;
  /** Forgets everything. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

/** Lives as long as the program; give the same one to a second client to go on where the first one stopped. */
export class MemoryStore implements Store {
  readonly #groups = new Map<string, { record: GroupRecord; entries: Map<number, Entry> }>();
  readonly #outbox = new Map<string, OutboxItem>();

  async load(): Promise<Saved> {
    return {
      groups: Array.from(this.#groups.values(), ({ record }) => ({ ...record })),
      outbox: Array.from(this.#outbox.values(), (item) => ({ ...item })),
    };
  }

  async saveGroup(record: GroupRecord, entries: readonly Entry[], keepFrom: number): Promise<void> {
    const kept = this.#groups.get(record.group_id)?.entries ?? new Map<number, Entry>();
    for (const entry of entries) kept.set(entry.data.seq, entry);
    for (const seq of kept.keys()) if (seq < keepFrom) kept.delete(seq);
    this.#groups.set(record.group_id, { record: { ...record }, entries: kept });
  }

  async removeGroup(groupId: string): Promise<void> {
    this.#groups.delete(groupId);
  }

  async entries(groupId: string, limit: number): Promise<Entry[]> {
    const entries = [...(this.#groups.get(groupId)?.entries.values() ?? [])];
    entries.sort((one, other) => one.data.seq - other.data.seq);
    return entries.slice(-limit);
  }

  async putOutbox(item: OutboxItem): Promise<void> {
    this.#outbox.set(keyOf(item), { ...item });
  }

  async noteUpload(item: OutboxKey, mediaUrl: string, refused: string | undefined): Promise<string | undefined> {
    const held = this.#outbox.get(keyOf(item));
    if (!held) return undefined;
    if (!held.media_url || held.media_url === refused) held.media_url = mediaUrl;
    return held.media_url;
  }

  async removeOutbox(item: OutboxKey): Promise<void> {
    this.#outbox.delete(keyOf(item));
  }

  async clear(): Promise<void> {
    this.#groups.clear();
    this.#outbox.clear();
  }

  async close(): Promise<void> {}
}
