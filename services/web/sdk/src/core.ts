/**
 * Follows the groups: asks for what is missing, takes what comes in order, stores it, acknowledges it.
 *
 *     welcome ─▶ resume (own seq of every group) ─▶ resumed: complete, or a reset ─▶ replay ─▶ live
 *                                                        gap ─▶ subscribe_to_group ─┘
 */

import { Acks } from "./acks.js";
import type { Connection, Frame } from "./connection.js";
import { ParleyError } from "./errors.js";
import { Group, type Reset } from "./group.js";
import { Keeper } from "./keeper.js";
import type { Media } from "./media.js";
import { Outbox } from "./outbox.js";
import type { Rest } from "./rest.js";
import { resumeParts } from "./resume.js";
import type { Entry, GroupRecord, Store } from "./store.js";
import { applyEvent } from "./apply.js";
import type {
  Acknowledged,
  GroupHead,
  GroupEventBody,
  ListedGroup,
  MessageBody,
  MessageStatus,
  NotificationBody,
  ResumedGroup,
  ServerEvents,
  Subscribed,
  Welcome,
} from "./wire.js";

/** Groups of a page of the list, and pages that are read. */
const LIST_LIMIT = 200;
const LIST_PAGES_MAX = 50;

/** What happened on the way, for tests and dashboards. */
export interface Stats {
  /** Events taken. */
  events: number;
  /** Events that were here already, and left out. */
  repeats: number;
  /** Holes found in what came, and filled by a replay. */
  gaps: number;
  /** Times that a session began. */
  sessions: number;
}

/** What the core tells the client. */
export interface CoreEvents {
  entry: { group: Group; entry: Entry; replayed: boolean };
  status: { group: Group; status: MessageStatus };
  typing: { group: Group; user_id: string };
  reset: { group: Group; reset: Reset };
  gap: { group: Group; expected: number; got: number };
  group_added: { group: Group; added_by?: string | undefined };
  group_removed: { group: Group; reason: string };
  groups: void;
  ready: void;
  error: ParleyError;
}

export interface CoreOptions {
  user: string | undefined;
  store: Store;
  connection: Connection;
  rest: Rest;
  media: Media;
  random: () => number;
  storedPerGroup: number;
  initialReplay: number;
  replayLimit: number | undefined;
  emit: <Name extends keyof CoreEvents>(name: Name, value: CoreEvents[Name]) => void;
}

export class Core {
  readonly #options: CoreOptions;
  readonly groups = new Map<string, Group>();
  readonly acks: Acks;
  readonly outbox: Outbox;
  readonly keeper: Keeper;
  readonly stats: Stats = { events: 0, repeats: 0, gaps: 0, sessions: 0 };
  #user: string | undefined;
  #epoch = "";
  #listed = false;
  /** Groups that this device asks for the first time: what lies before isn't missing. */
  readonly #fresh = new Set<string>();

  constructor(options: CoreOptions) {
    this.#options = options;
    this.#user = options.user;
    const { store, connection, media, random } = options;
    this.acks = new Acks(connection, random, (acknowledged) => this.#acknowledged(acknowledged));
    this.keeper = new Keeper({
      store,
      perGroup: options.storedPerGroup,
      isKnown: (group) => this.groups.get(group.id) === group,
      saved: (group, seq) => seq > group.record.delivered_seq && this.acks.want(group.id, "delivered", seq),
      failed: (error) => options.emit("error", error),
    });
    this.outbox = new Outbox({
      store,
      connection,
      media,
      random,
      inOrder: (step) => this.keeper.inOrder(step),
      failed: (error) => options.emit("error", error),
    });
    connection.on("welcome", (welcome) => void this.#welcome(welcome));
    connection.on("received", (frame) => this.#received(frame));
    connection.on("state", ({ state }) => {
      if (state === "connected") return;
      this.outbox.close(state === "disconnected");
      for (const group of this.groups.values()) group.awaiting = true;
    });
  }

  get user(): string {
    return this.#user ?? "";
  }
  get connection(): Connection {
    return this.#options.connection;
  }
  get rest(): Rest {
    return this.#options.rest;
  }

  /** What an earlier run left. */
  async load(): Promise<void> {
    const saved = await this.keeper.inOrder(() => this.#options.store.load());
    for (const record of saved.groups) {
      if (!this.groups.has(record.group_id)) this.#add(record);
    }
    this.outbox.restore(saved.outbox);
    this.#options.emit("groups", undefined);
  }

  /** A group that the server described. */
  learned<T extends GroupHead>(body: T): T {
    const group = this.groups.get(body.group_id);
    if (group) {
      const { delivered_seq, read_seq, unread } = group.record;
      const last_message = group.record.info?.last_message ?? null;
      const info: ListedGroup & { members?: unknown } = { ...body, delivered_seq, read_seq, unread, last_message };
      delete info.members;
      group.record.info = info;
      this.keeper.save(group);
      group.emit("changed", group);
    }
    return body;
  }

  /** Follows a group that this device doesn't know. */
  async follow(body: GroupHead, addedBy?: string): Promise<Group> {
    let group = this.groups.get(body.group_id);
    if (!group) {
      // From here on even if the connection ends before it is subscribed to: the next one resumes it.
      const seq = Math.max(0, body.head_seq - Math.max(this.#options.initialReplay, 1));
      group = this.#add({ ...fresh(body.group_id, body.epoch, body.head_seq), seq });
      this.#fresh.add(group.id);
      this.learned(body);
      this.#options.emit("group_added", { group, added_by: addedBy });
      this.#options.emit("groups", undefined);
      if (this.connection.state === "connected") await this.#subscribe(group);
    }
    return group;
  }

  #add(record: GroupRecord): Group {
    const group = new Group(this, record);
    this.groups.set(record.group_id, group);
    return group;
  }

  async #remove(group: Group, reason: string): Promise<void> {
    this.groups.delete(group.id);
    this.acks.forget(group.id);
    group.emit("removed", { reason });
    this.#options.emit("group_removed", { group, reason });
    this.#options.emit("groups", undefined);
    await Promise.all([
      this.#kept(this.outbox.dropGroup(group.id)),
      this.#kept(this.keeper.inOrder(() => this.#options.store.removeGroup(group.id))),
    ]);
  }

  /** A step on the store whose failure nobody else hears of. */
  async #kept(step: Promise<void>): Promise<void> {
    await step.catch((error: unknown) => this.#options.emit("error", ParleyError.of(error, "storage", true)));
  }

  async #welcome(welcome: Welcome): Promise<void> {
    if (this.#user !== undefined && this.#user !== welcome.user_id) {
      const why = `the token speaks for ${welcome.user_id}, the data is ${this.#user}'s`;
      return this.connection.refuse(new ParleyError("wrong_user", why));
    }
    this.#user = welcome.user_id;
    this.#epoch = welcome.epoch;
    this.stats.sessions += 1;
    for (const { group_id, head_seq, delivered_seq, read_seq, unread } of welcome.groups) {
      let group = this.groups.get(group_id);
      if (!group) {
        // As much of the past as wanted, and everything that no device of this user has got.
        const after = Math.min(delivered_seq, Math.max(0, head_seq - this.#options.initialReplay));
        group = this.#add({ ...fresh(group_id, welcome.epoch, head_seq), seq: after, delivered_seq, read_seq });
        this.#fresh.add(group_id);
        this.#listed = false;
      }
      const { record } = group;
      record.head_seq = head_seq;
      // What was seen or read of another incarnation of the log says nothing of this one.
      const isSame = record.epoch === welcome.epoch;
      if (!isSame) {
        this.acks.forget(group_id);
        Object.assign(record, { delivered_seq, read_seq, read_wanted: undefined });
      }
      group.setCursors(delivered_seq, read_seq);
      group.setUnread(unread, read_seq, head_seq);
      if ((record.read_wanted ?? 0) > read_seq) this.acks.want(group_id, "read", record.read_wanted ?? 0);
      if (isSame && group.savedSeq > delivered_seq && group.savedSeq <= head_seq) {
        this.acks.want(group_id, "delivered", group.savedSeq);
      }
    }
    const frameBytesMax = welcome.limits["frame_bytes"] || Number.POSITIVE_INFINITY;
    try {
      await this.#resume(frameBytesMax);
      this.connection.settled();
    } catch (error) {
      if (this.connection.state !== "connected") return;
      this.#options.emit("error", ParleyError.of(error, "connection_lost", true));
      return this.connection.restart("the groups couldn't be resumed");
    }
    this.outbox.open(frameBytesMax);
    this.acks.resume();
    this.#options.emit("ready", undefined);
    if (!this.#listed) await this.list().catch((error: unknown) => this.#trouble(error));
  }

  async #resume(frameBytesMax: number): Promise<void> {
    const limit = this.#options.replayLimit;
    const parts = resumeParts(Array.from(this.groups.values(), ({ record }) => record), frameBytesMax);
    const asked = parts.map((groups) => ({ groups, ...(limit !== undefined && { limit }) }));
    await Promise.all(asked.map((part) => this.connection.request("resume", part)));
  }

  /** Reads the names and the rest of all groups. */
  async list(): Promise<void> {
    let cursor: string | undefined;
    for (let page = 0; page < LIST_PAGES_MAX; page += 1) {
      const { groups, next_cursor } = await this.rest.groups({ cursor, limit: LIST_LIMIT });
      for (const info of groups) {
        const group = this.groups.get(info.group_id);
        if (group) {
          group.record.info = info;
          this.keeper.save(group);
          group.emit("changed", group);
        } else await this.follow(info);
      }
      if (!next_cursor) break;
      cursor = next_cursor;
    }
    this.#listed = true;
    this.#options.emit("groups", undefined);
  }

  #trouble(error: unknown): void {
    const failure = ParleyError.of(error, "network", true);
    if (this.connection.state === "connected") this.#options.emit("error", failure);
  }

  /** In the order of the wire, and at once: what follows from a frame is done before the next one is looked at. */
  #received(frame: Frame): void {
    const data = frame.data as never;
    switch (frame.event as keyof ServerEvents) {
      case "group_message":
        return this.#entry({ event: "group_message", data: data as MessageBody, bytes: frame.bytes });
      case "group_event":
        return this.#entry({ event: "group_event", data: data as GroupEventBody, bytes: frame.bytes });
      case "resumed":
        for (const group of (data as ServerEvents["resumed"]).groups) this.#resumed(group);
        return;
      case "subscribed_to_group":
        return this.#subscribed(data as Subscribed);
      case "group_message_acknowledged":
        return this.#acknowledged(data as Acknowledged);
      case "group_message_status": {
        const status = data as MessageStatus;
        const group = this.groups.get(status.group_id);
        group?.emit("status", status);
        if (group) this.#options.emit("status", { group, status });
        return;
      }
      case "typing": {
        const { group_id, user_id } = data as { group_id: string; user_id: string };
        const group = this.groups.get(group_id);
        group?.emit("typing", { user_id });
        if (group) this.#options.emit("typing", { group, user_id });
        return;
      }
      case "a_group_created":
      case "added_to_group":
        return this.#notified(data as NotificationBody);
      case "error":
        if (frame.id === undefined) this.#options.emit("error", ParleyError.ofWire(data));
        return;
      default:
        return;
    }
  }

  #notified({ notification_id, group: body, added_by }: NotificationBody): void {
    const known = this.groups.get(body.group_id);
    if (!known) {
      this.follow(body, added_by).catch((error: unknown) => this.#trouble(error));
      return;
    }
    this.learned(body);
    if (this.#fresh.has(known.id)) this.#options.emit("group_added", { group: known, added_by });
    this.connection.request("acknowledge_notification", { notification_id }).catch(() => {}); // it comes again
  }

  async #subscribe(group: Group): Promise<void> {
    group.awaiting = true;
    const limit = this.#options.replayLimit;
    const { group_id, epoch, seq: after_seq } = group.record;
    try {
      const request = { group_id, epoch, after_seq, ...(limit !== undefined && { limit }) };
      await this.connection.request("subscribe_to_group", request);
    } catch (error) {
      const failure = ParleyError.of(error, "connection_lost", true);
      if (failure.code === "connection_lost" || failure.code === "not_connected") return; // the next session resumes it
      if (failure.retryable) return this.connection.restart("a group couldn't be subscribed to");
      await this.#remove(group, failure.code);
    }
  }

  #subscribed(body: Subscribed): void {
    const group = this.groups.get(body.group_id);
    if (!group) return;
    group.record.epoch = body.epoch;
    group.record.head_seq = Math.max(body.head_seq, body.from_seq - 1);
    group.setUnread(body.unread, body.read_seq, body.head_seq);
    group.setCursors(body.delivered_seq, body.read_seq);
    this.#resumed(body, body.epoch);
  }

  #resumed(body: ResumedGroup, epoch?: string): void {
    const group = this.groups.get(body.group_id);
    if (!group) return;
    const { record } = group;
    const after_seq = record.seq;
    const isFresh = this.#fresh.delete(group.id);
    group.awaiting = false;
    group.replayTo = body.to_seq;
    const reason = body.reset_reason ?? (body.complete ? undefined : "unknown");
    if (reason === undefined && body.from_seq === after_seq + 1) return;
    const isOver = reason === "not_a_member" || reason === "group_dissolved" || reason === "group_not_found";
    if (isOver && body.to_seq < body.from_seq && !isFresh) {
      void this.#remove(group, reason);
      return;
    }
    record.seq = Math.max(0, body.from_seq - 1);
    record.head_seq = Math.max(body.to_seq, record.seq);
    record.epoch = epoch ?? (reason === "epoch_changed" ? this.#epoch : record.epoch);
    group.unsaved = [];
    group.savedSeq = record.seq;
    group.keepFrom = body.from_seq;
    if (reason === "epoch_changed") void this.#kept(this.keeper.inOrder(() => this.#options.store.removeGroup(group.id)));
    this.keeper.save(group);
    if (isFresh) return;
    const reset: Reset = { reason: reason ?? "unknown", after_seq, from_seq: body.from_seq, to_seq: body.to_seq };
    this.#listed = false;
    group.emit("reset", reset);
    this.#options.emit("reset", { group, reset });
  }

  #entry(entry: Entry): void {
    const group = this.groups.get(entry.data.group_id);
    if (!group || group.awaiting) return;
    const { record } = group;
    const { seq, epoch } = entry.data;
    if (epoch === record.epoch && seq <= record.seq) {
      this.stats.repeats += 1;
      return;
    }
    if (epoch !== record.epoch || seq > record.seq + 1) {
      this.stats.gaps += 1;
      this.#options.emit("gap", { group, expected: record.seq + 1, got: seq });
      void this.#subscribe(group);
      return;
    }
    record.seq = seq;
    record.head_seq = Math.max(record.head_seq, seq);
    this.stats.events += 1;
    group.unsaved.push(entry);
    if (group.unsaved.length > this.#options.storedPerGroup) group.unsaved.shift();
    const ended = applyEvent(group, entry, this.user);
    this.keeper.save(group);
    const replayed = seq <= group.replayTo;
    if (entry.event === "group_message") {
      group.countMessage(entry.data);
      // Ids are each sender's own: another's may be the same.
      if (entry.data.sender === this.user) this.outbox.seen(entry.data);
    }
    group.emit("entry", { entry, replayed });
    if (entry.event === "group_message") group.emit("message", { message: entry.data, replayed });
    else group.emit("event", { event: entry.data, replayed });
    group.emit("changed", group);
    this.#options.emit("entry", { group, entry, replayed });
    if (seq === group.replayTo && group.mustRecount) void this.#recount(group);
    if (ended) this.#ended(group, seq, ended);
    else if (entry.event === "group_event") this.#followUp(group, entry.data);
  }

  /** The last event that this user gets: acknowledged, so that the server needn't replay it again. */
  #ended(group: Group, seq: number, reason: string): void {
    const request = { group_id: group.id, seq, status: "delivered" } as const;
    this.connection.request("acknowledge_group_message", request).catch(() => {});
    void this.#remove(group, reason);
  }

  #followUp(group: Group, event: GroupEventBody): void {
    if (event.kind === "message_rolled_back") void this.#kept(this.#withhold(group, event));
    // Only the first 100 are named: was this user among the others?
    if (event.kind === "member_removed" && event.count > event.user_ids.length) {
      this.rest.group(group.id).catch((error: unknown) => {
        if (error instanceof ParleyError && error.code === "not_a_member") this.#ended(group, event.seq, error.code);
      });
    }
  }

  /** A stored message whose content is taken back. */
  async #withhold(group: Group, { message_id, seq }: { message_id: string; seq: number }): Promise<void> {
    for (const entry of await this.keeper.stored(group, this.#options.storedPerGroup)) {
      if (entry.event !== "group_message" || entry.data.message_id !== message_id) continue;
      const { text: _text, media: _media, media_url: _url, ...rest } = entry.data;
      group.unsaved.push({ ...entry, data: { ...rest, withheld: "rolled_back" } });
      group.uncountMessage(entry.data, seq);
      this.keeper.save(group);
      group.emit("changed", group);
    }
  }

  #acknowledged({ group_id, delivered_seq, read_seq }: Acknowledged): void {
    const group = this.groups.get(group_id);
    if (!group) return;
    group.setCursors(delivered_seq, read_seq);
    this.keeper.save(group);
    if (group.mustRecount) void this.#recount(group);
  }

  /** Counts what is unread in what is stored, if that reaches back far enough; else the next welcome brings it right. */
  async #recount(group: Group): Promise<void> {
    const { seq } = group;
    const entries = await this.keeper.stored(group, this.#options.storedPerGroup).catch(() => []);
    const read = group.readSeq;
    if (group.seq !== seq || (entries[0]?.data.seq ?? Number.POSITIVE_INFINITY) > read + 1) return;
    const isUnread = ({ event, data }: Entry) =>
      event === "group_message" && data.seq > read && data.sender !== this.user && data.withheld !== "rolled_back";
    group.setUnread(entries.filter(isUnread).length, read, seq);
    group.emit("changed", group);
  }
}

function fresh(group_id: string, epoch: string, head_seq: number): GroupRecord {
  return { group_id, epoch, seq: 0, head_seq, delivered_seq: 0, read_seq: 0, unread: 0 };
}
