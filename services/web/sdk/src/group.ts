/** A group as this device knows it: its place in the stream, its cursors, and what can be done in it. */

import type { Core } from "./core.js";
import { Emitter } from "./emitter.js";
import type { OutgoingMessage, Sent } from "./outbox.js";
import type { HistoryPage, Page } from "./rest.js";
import type { Entry, GroupRecord } from "./store.js";
import type {
  GroupBody,
  GroupEventBody,
  ListedGroup,
  Members,
  MessageBody,
  Messages,
  MessageStatus,
  Statuses,
  UpdateGroup,
} from "./wire.js";

/** The stream doesn't go on where this device left it; what lies between is in the history, if the member may see it. */
export interface Reset {
  /** `epoch_changed`, `retention`, `limit`, `not_a_member`, `group_dissolved`, `group_not_found`. */
  reason: string;
  /** What was known before. */
  after_seq: number;
  /** Where it goes on. */
  from_seq: number;
  to_seq: number;
}

/** What a group tells. `replayed` means that it happened while this device was away. */
export interface GroupEvents {
  /** Every event in order of `seq`: messages and group events. */
  entry: { entry: Entry; replayed: boolean };
  message: { message: MessageBody; replayed: boolean };
  event: { event: GroupEventBody; replayed: boolean };
  /** How far one of the user's own messages got. */
  status: MessageStatus;
  typing: { user_id: string };
  /** The user's own cursors moved, here or on another device. */
  cursors: { delivered_seq: number; read_seq: number };
  /** Name, unread count or last message changed. */
  changed: Group;
  reset: Reset;
  /** The user isn't a member any more, or the group is gone. */
  removed: { reason: string };
}

/** How often "is typing" is passed on. */
const TYPING_EVERY_MS = 3_000;
/** Unread messages that are remembered one by one. */
const UNREAD_MAX = 1_000;

export class Group extends Emitter<GroupEvents> {
  readonly id: string;
  readonly #core: Core;
  /** @internal */
  readonly record: GroupRecord;
  /** @internal Events are ignored until the server has said from where on they come. */
  awaiting = true;
  /** @internal Replay ends here. */
  replayTo = 0;
  /** @internal Events that aren't stored yet. */
  unsaved: Entry[] = [];
  /** @internal Up to here everything is stored. */
  savedSeq: number;
  /** @internal Events before aren't kept. */
  keepFrom = 0;
  /** What the server counted, for which place of the cursor, and up to where; what came since is counted here. */
  #unreadBase: { count: number; read: number; upTo: number };
  #unreadSeqs: number[] = [];
  #typedAt = 0;

  /** @internal */
  constructor(core: Core, record: GroupRecord) {
    super();
    this.#core = core;
    this.id = record.group_id;
    this.record = record;
    this.savedSeq = record.seq;
    this.#unreadBase = { count: record.unread, read: record.read_seq, upTo: record.seq };
  }

  /** Name, owner and so on; not known yet for a group that was just learned of. */
  get info(): ListedGroup | undefined {
    return this.record.info;
  }
  /** The last event that this device has. */
  get seq(): number {
    return this.record.seq;
  }
  /** The last event that there is, as last heard. */
  get headSeq(): number {
    return this.record.head_seq;
  }
  get deliveredSeq(): number {
    return this.record.delivered_seq;
  }
  /** What was read, here too if the server doesn't know it yet. */
  get readSeq(): number {
    return Math.max(this.record.read_seq, this.record.read_wanted ?? 0);
  }
  /** Messages of others that weren't read; exact up to 1,000. */
  get unread(): number {
    return this.record.unread;
  }
  /** Whether everything up to the present is here, and what comes arrives by itself. */
  get isLive(): boolean {
    return !this.awaiting && this.record.seq >= this.replayTo;
  }

  /**
   * Sends, now or as soon as there is a connection, also after a restart of this program. Resolves once the message is
   * durable in the log; rejects when it is refused for good, and then it stays in the outbox.
   */
  send(message: OutgoingMessage): Promise<Sent> {
    return this.#core.outbox.send(this.id, message);
  }

  /** Everything up to this `seq`, or to the last event here, was read. Kept until the server knows. */
  markRead(seq: number = this.record.seq): void {
    const wanted = Math.min(seq, this.record.seq);
    if (wanted <= this.readSeq) return;
    this.record.read_wanted = wanted;
    this.#count();
    this.#core.keeper.save(this);
    this.#core.acks.want(this.id, "read", wanted);
    this.emit("changed", this);
  }

  /** Tells that the user is typing; nothing happens without a connection, or more than once in 3 s. */
  typing(): void {
    const now = Date.now();
    if (now - this.#typedAt < TYPING_EVERY_MS) return;
    this.#typedAt = now;
    this.#core.connection.tell("typing", { group_id: this.id });
  }

  /** The newest events that are stored on this device, oldest first: without a hole, up to `seq`. */
  stored(limit = 100): Promise<Entry[]> {
    return this.#core.keeper.stored(this, limit);
  }

  /** Messages from the server, in rising `seq`. */
  history(page: HistoryPage = {}): Promise<Messages> {
    return this.#core.rest.messages(this.id, page);
  }

  /** The group itself, with its first 100 members. */
  async fetch(): Promise<GroupBody> {
    return this.#core.learned(await this.#core.rest.group(this.id));
  }

  members(page: Page = {}): Promise<Members> {
    return this.#core.rest.members(this.id, page);
  }

  /** Who got a message and who read it. */
  statuses(messageId: string, page: Page = {}): Promise<Statuses> {
    return this.#core.rest.statuses(this.id, messageId, page);
  }

  async update(change: UpdateGroup): Promise<GroupBody> {
    return this.#core.learned(await this.#core.rest.updateGroup(this.id, change));
  }

  async addMembers(userIds: string[]): Promise<GroupBody> {
    return this.#core.learned(await this.#core.rest.addMembers(this.id, userIds));
  }

  removeMember(userId: string): Promise<void> {
    return this.#core.rest.removeMember(this.id, userId);
  }

  /** The owner must transfer the group before. */
  leave(): Promise<void> {
    return this.removeMember(this.#core.user);
  }

  async setRole(userId: string, role: "admin" | "member"): Promise<GroupBody> {
    return this.#core.learned(await this.#core.rest.setRole(this.id, userId, role));
  }

  async transferOwnership(userId: string): Promise<GroupBody> {
    return this.#core.learned(await this.#core.rest.transferOwnership(this.id, userId));
  }

  /** Ends the group for everybody. */
  dissolve(): Promise<void> {
    return this.#core.rest.dissolveGroup(this.id);
  }

  /** @internal The server's own count, at a welcome or in a list. */
  setUnread(count: number, read: number, upTo: number): void {
    this.#unreadBase = { count, read, upTo };
    this.#unreadSeqs = this.#unreadSeqs.filter((seq) => seq > upTo);
    this.#count();
  }

  /** @internal */
  countMessage(message: MessageBody): void {
    const isBase = message.seq <= this.#unreadBase.upTo;
    if (isBase || message.sender === this.#core.user || this.#unreadSeqs.length >= UNREAD_MAX) return;
    if (message.withheld === "rolled_back") return;
    this.#unreadSeqs.push(message.seq);
    this.#count();
  }

  /** @internal A message that was taken back by the event with this `seq`. */
  uncountMessage(message: MessageBody, seq: number): void {
    const base = this.#unreadBase;
    if (message.sender === this.#core.user || message.seq <= this.readSeq) return;
    if (message.seq > base.upTo) this.#unreadSeqs = this.#unreadSeqs.filter((one) => one !== message.seq);
    // The server had counted it, unless it knew already.
    else if (seq > base.upTo && message.withheld !== "rolled_back") base.count = Math.max(0, base.count - 1);
    this.#count();
  }

  /** @internal */
  setCursors(delivered: number, read: number): void {
    const { record } = this;
    if (delivered <= record.delivered_seq && read <= record.read_seq) return;
    record.delivered_seq = Math.max(record.delivered_seq, delivered);
    record.read_seq = Math.max(record.read_seq, read);
    if (record.read_wanted !== undefined && record.read_wanted <= record.read_seq) record.read_wanted = undefined;
    this.#count();
    this.emit("cursors", { delivered_seq: record.delivered_seq, read_seq: record.read_seq });
    this.emit("changed", this);
  }

  /** @internal Whether some of what the server counted was read since, so that it must be counted here. */
  get mustRecount(): boolean {
    const { count, read, upTo } = this.#unreadBase;
    return count > 0 && this.readSeq > read && this.readSeq < upTo && this.isLive;
  }

  #count(): void {
    const read = this.readSeq;
    if (read >= this.#unreadBase.upTo) this.#unreadBase.count = 0;
    this.#unreadSeqs = this.#unreadSeqs.filter((seq) => seq > read);
    this.record.unread = this.#unreadBase.count + this.#unreadSeqs.length;
  }
}
