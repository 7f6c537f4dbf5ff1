/** The store of browsers. Two tabs of one user may share it: what both write is the same, only grows, or is compared first. */

import type { Entry, GroupRecord, OutboxItem, OutboxKey, Saved, Store } from "./store.js";

/** 2: the outbox's key has the group in it. */
const VERSION = 2;
const OUTBOX_KEY = ["group_id", "client_message_id"] as const;
const keyIn = (item: OutboxKey) => OUTBOX_KEY.map((name) => item[name]);

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("IndexedDB failed"));
  });
}

function committed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("IndexedDB gave a transaction up"));
  });
}

/** Makes what isn't there yet; what an earlier version kept stays. */
function upgrade(database: IDBDatabase, transaction: IDBTransaction | null, from: number): void {
  const makeOutbox = () => database.createObjectStore("outbox", { keyPath: [...OUTBOX_KEY] });
  if (from === 0) {
    database.createObjectStore("groups", { keyPath: "group_id" });
    database.createObjectStore("entries", { keyPath: ["data.group_id", "data.seq"] });
    makeOutbox();
  } else if (from === 1 && transaction) {
    const held = transaction.objectStore("outbox").getAll() as IDBRequest<OutboxItem[]>;
    held.onsuccess = () => {
      database.deleteObjectStore("outbox");
      const outbox = makeOutbox();
      for (const item of held.result) outbox.put(item);
    };
  }
}

/** Keeps everything of one user in one IndexedDB database. */
export class IndexedDbStore implements Store {
  readonly #name: string;
  #database: Promise<IDBDatabase> | undefined;

  /** The name must be the user's and the server's own. */
  constructor(name: string) {
    this.#name = name;
  }

  #open(): Promise<IDBDatabase> {
    this.#database ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(this.#name, VERSION);
      request.onupgradeneeded = ({ oldVersion }) => upgrade(request.result, request.transaction, oldVersion);
      request.onerror = () => {
        this.#database = undefined;
        reject(request.error ?? new Error("IndexedDB can't be opened"));
      };
      request.onsuccess = () => {
        const database = request.result;
        // Somebody deletes or upgrades it: don't stand in the way.
        database.onversionchange = () => {
          database.close();
          this.#database = undefined;
        };
        // The browser may close it by itself; the next call opens it again.
        database.onclose = () => (this.#database = undefined);
        resolve(database);
      };
    });
    return this.#database;
  }

  async load(): Promise<Saved> {
    const transaction = (await this.#open()).transaction(["groups", "outbox"]);
    const groups = done<GroupRecord[]>(transaction.objectStore("groups").getAll());
    const outbox = done<OutboxItem[]>(transaction.objectStore("outbox").getAll());
    return { groups: await groups, outbox: await outbox };
  }

  async saveGroup(record: GroupRecord, entries: readonly Entry[], keepFrom: number): Promise<void> {
    const transaction = (await this.#open()).transaction(["groups", "entries"], "readwrite");
    const finished = committed(transaction);
    const store = transaction.objectStore("entries");
    for (const entry of entries) store.put(entry);
    if (keepFrom > 0) store.delete(IDBKeyRange.bound([record.group_id, 0], [record.group_id, keepFrom], false, true));
    const groups = transaction.objectStore("groups");
    const held = groups.get(record.group_id) as IDBRequest<GroupRecord | undefined>;
    held.onsuccess = () => {
      // Another tab may be ahead. Its events are there too, so its place counts; but not across incarnations.
      const other = held.result;
      const isAhead = other?.epoch === record.epoch && other.seq > record.seq && keepFrom <= other.seq;
      groups.put(isAhead ? { ...record, seq: other.seq } : record);
    };
    await finished;
  }

  async removeGroup(groupId: string): Promise<void> {
    const transaction = (await this.#open()).transaction(["groups", "entries"], "readwrite");
    const finished = committed(transaction);
    transaction.objectStore("groups").delete(groupId);
    transaction.objectStore("entries").delete(IDBKeyRange.bound([groupId, 0], [groupId, Number.MAX_SAFE_INTEGER]));
    await finished;
  }

  async entries(groupId: string, limit: number): Promise<Entry[]> {
    const range = IDBKeyRange.bound([groupId, 0], [groupId, Number.MAX_SAFE_INTEGER]);
    const found: Entry[] = [];
    const request = (await this.#open()).transaction("entries").objectStore("entries").openCursor(range, "prev");
    await new Promise<void>((resolve, reject) => {
      request.onerror = () => reject(request.error ?? new Error("IndexedDB failed"));
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor || found.length >= limit) return resolve();
        found.push(cursor.value as Entry);
        cursor.continue();
      };
    });
    return found.reverse();
  }

  async putOutbox(item: OutboxItem): Promise<void> {
    const transaction = (await this.#open()).transaction("outbox", "readwrite");
    const finished = committed(transaction);
    transaction.objectStore("outbox").put(item);
    await finished;
  }

  async noteUpload(item: OutboxKey, mediaUrl: string, refused: string | undefined): Promise<string | undefined> {
    const transaction = (await this.#open()).transaction("outbox", "readwrite");
    const finished = committed(transaction);
    const outbox = transaction.objectStore("outbox");
    const held = outbox.get(keyIn(item)) as IDBRequest<OutboxItem | undefined>;
    let noted: string | undefined;
    held.onsuccess = () => {
      if (!held.result) return;
      noted = held.result.media_url;
      if (noted && noted !== refused) return;
      noted = mediaUrl;
      outbox.put({ ...held.result, media_url: mediaUrl });
    };
    await finished;
    return noted;
  }

  async removeOutbox(item: OutboxKey): Promise<void> {
    const transaction = (await this.#open()).transaction("outbox", "readwrite");
    const finished = committed(transaction);
    transaction.objectStore("outbox").delete(keyIn(item));
    await finished;
  }

  async clear(): Promise<void> {
    await this.close();
    await done(indexedDB.deleteDatabase(this.#name));
  }

  async close(): Promise<void> {
    const database = this.#database;
    this.#database = undefined;
    (await database)?.close();
  }
}
