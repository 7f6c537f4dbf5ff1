/** What of a group is on the screen: a window of its stream, and what is still to be sent. */

import { Emitter, type Entry, type Group, type MessageBody, type OutboxItem, type Parley } from "@parley/sdk";

/** Entries in the window; older or newer ones beyond it are dropped, and read again when wanted. */
const WINDOW_MAX = 400;
const PAGE = 50;
/** Fewer than this don't fill a screen. */
const FEW = 30;

/** An item of the outbox, or one that is in the log while its echo is on the way. */
export interface Outgoing {
  item: OutboxItem;
  isSent: boolean;
  progress?: number | undefined;
}

const fromHistory = (data: MessageBody): Entry => ({ event: "group_message", data, bytes: 0 });

export class Timeline extends Emitter<{ changed: void }> {
  readonly group: Group;
  readonly #parley: Parley;
  entries: Entry[] = [];
  outgoing: Outgoing[] = [];
  /** There may be more before. */
  hasOlder = true;
  isLoading = false;
  isLoaded = false;
  /** The window doesn't reach the newest. */
  isDetached = false;
  /** What went wrong while loading. */
  trouble: string | undefined;
  /** Counts the windows: a page that was asked for at another one would leave a hole in this one. */
  #window = 0;
  #stops: (() => void)[] = [];

  constructor(parley: Parley, group: Group) {
    super();
    this.#parley = parley;
    this.group = group;
    const { outbox } = parley;
    const ours = (item: OutboxItem) => item.group_id === group.id;
    this.outgoing = outbox.items.filter(ours).map((item) => ({ item, isSent: false }));
    this.#stops = [
      group.on("entry", ({ entry }) => this.#add(entry)),
      group.on("reset", () => void this.load()),
      outbox.on("queued", (item) => ours(item) && this.#queued(item)),
      outbox.on("failed", ({ item }) => ours(item) && this.#changed()),
      outbox.on("discarded", (item) => ours(item) && this.#drop(item.client_message_id)),
      outbox.on("progress", ({ item, sent, total }) => this.#progress(item, total === 0 ? 1 : sent / total)),
      outbox.on("sent", ({ item }) => this.#sent(item)),
      parley.on("ready", () => {
        if (this.entries.length < FEW) void this.loadOlder();
      }),
    ];
    void this.load();
  }

  close(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }

  #changed(): void {
    this.emit("changed", undefined);
  }

  /** What this device has, and a page from the server if that is little. */
  async load(): Promise<void> {
    await this.#catchingUp(async () => {
      this.entries = await this.group.stored(PAGE * 2).catch(() => []);
      this.#window += 1;
      this.isLoading = false;
      this.isDetached = false;
    });
    this.hasOlder = (this.entries[0]?.data.seq ?? 2) > 1;
    this.isLoaded = true;
    this.#changed();
    if (this.entries.length < FEW) await this.loadOlder();
  }

  loadOlder(): Promise<void> {
    if (!this.hasOlder) return Promise.resolve();
    return this.#loading(async (isCurrent) => {
      const before_seq = this.entries[0]?.data.seq;
      const { messages, has_more } = await this.group.history({ before_seq, limit: PAGE });
      if (!isCurrent()) return;
      this.#merge(messages.map(fromHistory));
      this.hasOlder = has_more;
      if (this.entries.length > WINDOW_MAX) {
        this.entries = this.entries.slice(0, WINDOW_MAX);
        this.isDetached = true;
      }
    });
  }

  /** On the way back from older ones. */
  loadNewer(): Promise<void> {
    if (!this.isDetached) return Promise.resolve();
    return this.#loading(async (isCurrent) => {
      const after_seq = this.entries.at(-1)?.data.seq ?? 0;
      const { messages, has_more } = await this.group.history({ after_seq, limit: PAGE });
      if (!isCurrent()) return;
      this.#merge(messages.map(fromHistory));
      if (!has_more) {
        await this.#catchingUp(async () => {
          const stored = await this.group.stored(PAGE);
          if (!isCurrent()) return;
          const reached = this.entries.at(-1)?.data.seq ?? 0;
          this.#merge(stored.filter((entry) => entry.data.seq > reached));
          this.isDetached = false;
        });
      }
      this.#forgetOldest();
    });
  }

  /** Reads the end of the stream. What came meanwhile is in neither what was read nor a window that was elsewhere. */
  async #catchingUp(read: () => Promise<void>): Promise<void> {
    const arrived: Entry[] = [];
    const stop = this.group.on("entry", ({ entry }) => arrived.push(entry));
    try {
      await read();
    } finally {
      stop();
    }
    for (const entry of arrived) this.#take(entry);
  }

  async #loading(read: (isCurrent: () => boolean) => Promise<void>): Promise<void> {
    if (this.isLoading || this.#parley.state !== "connected") return;
    const window = this.#window;
    const isCurrent = () => this.#window === window;
    this.isLoading = true;
    this.#changed();
    let trouble: string | undefined;
    try {
      await read(isCurrent);
    } catch (error) {
      trouble = error instanceof Error ? error.message : String(error);
    }
    if (!isCurrent()) return;
    this.trouble = trouble;
    this.isLoading = false;
    this.#changed();
  }

  #merge(entries: readonly Entry[]): void {
    const known = new Set(this.entries.map((entry) => entry.data.seq));
    const all = [...this.entries, ...entries.filter((entry) => !known.has(entry.data.seq))];
    this.entries = all.sort((one, other) => one.data.seq - other.data.seq);
  }

  #forgetOldest(): void {
    if (this.entries.length <= WINDOW_MAX) return;
    this.entries = this.entries.slice(-WINDOW_MAX);
    this.hasOlder = true;
  }

  #add(entry: Entry): void {
    if (entry.event === "group_message" && entry.data.sender === this.#parley.user) this.#drop(entry.data.client_message_id);
    this.#take(entry);
    this.#changed();
  }

  #take(entry: Entry): void {
    if (entry.event === "group_event" && entry.data.kind === "message_rolled_back") this.#withhold(entry.data.message_id);
    if (!this.isDetached && entry.data.seq > (this.entries.at(-1)?.data.seq ?? 0)) {
      this.entries = [...this.entries, entry];
      this.#forgetOldest();
    }
  }

  #withhold(messageId: string): void {
    this.entries = this.entries.map((entry) =>
      entry.event === "group_message" && entry.data.message_id === messageId
        ? { ...entry, data: { ...entry.data, text: undefined, media: undefined, media_url: undefined, withheld: "rolled_back" } }
        : entry,
    );
  }

  #queued(item: OutboxItem): void {
    if (!this.outgoing.some((one) => one.item === item)) this.outgoing = [...this.outgoing, { item, isSent: false }];
    this.#changed();
  }

  #progress(item: OutboxItem, progress: number): void {
    const one = this.outgoing.find((outgoing) => outgoing.item === item);
    if (!one) return;
    one.progress = progress;
    this.#changed();
  }

  /** It stays where it is until the stream brings it. */
  #sent(item: OutboxItem): void {
    const one = this.outgoing.find((outgoing) => outgoing.item === item);
    if (!one) return;
    one.isSent = true;
    const isHere = (entry: Entry) =>
      entry.event === "group_message" &&
      entry.data.sender === this.#parley.user &&
      entry.data.client_message_id === item.client_message_id;
    if (this.isDetached || this.entries.some(isHere)) this.#drop(item.client_message_id);
    else this.#changed();
  }

  #drop(clientMessageId: string): void {
    this.outgoing = this.outgoing.filter(({ item }) => item.client_message_id !== clientMessageId);
    this.#changed();
  }
}
