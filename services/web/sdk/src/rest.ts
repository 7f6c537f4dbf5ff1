/** The REST calls of the contract, typed, each once. */

import { wait } from "./backoff.js";
import { ParleyError } from "./errors.js";
import type { TokenSource } from "./token.js";
import type {
  CreateGroup,
  CreateUpload,
  Download,
  ErrorEnvelope,
  GroupBody,
  Groups,
  Members,
  Messages,
  ProfileBody,
  PutProfile,
  Statuses,
  UpdateGroup,
  Upload,
} from "./wire.js";

/** Which page of a list. */
export interface Page {
  /** `next_cursor` of the page before. */
  cursor?: string | undefined;
  /** 50 if not given, at most 200. */
  limit?: number | undefined;
}

/** Which part of the history; exclusive. Neither: the newest. */
export interface HistoryPage {
  before_seq?: number | undefined;
  after_seq?: number | undefined;
  /** 50 if not given, at most 200. */
  limit?: number | undefined;
}

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** How long an answer may take, and the wait for the next try of a read. */
const ANSWER_WAIT_MS = 20_000;
/** Reads are tried so often in all. */
const READ_TRIES = 3;
const READ_RETRY_MS = 300;

const id = encodeURIComponent;

/** What the calls need. */
export interface RestOptions {
  url: string;
  tokens: TokenSource;
  fetch: typeof fetch;
}

export class Rest {
  readonly #options: RestOptions;

  constructor(options: RestOptions) {
    this.#options = options;
  }

  createGroup = (body: CreateGroup) => this.#call<GroupBody>("POST", "/groups", {}, body);
  groups = (page: Page = {}) => this.#call<Groups>("GET", "/groups", { ...page });
  group = (group: string) => this.#call<GroupBody>("GET", `/groups/${id(group)}`);
  updateGroup = (group: string, body: UpdateGroup) => this.#call<GroupBody>("PATCH", `/groups/${id(group)}`, {}, body);
  dissolveGroup = (group: string) => this.#call<void>("DELETE", `/groups/${id(group)}`);
  members = (group: string, page: Page = {}) => this.#call<Members>("GET", `/groups/${id(group)}/members`, { ...page });
  addMembers = (group: string, user_ids: string[]) =>
    this.#call<GroupBody>("POST", `/groups/${id(group)}/members`, {}, { user_ids });
  removeMember = (group: string, user: string) =>
    this.#call<void>("DELETE", `/groups/${id(group)}/members/${id(user)}`);
  setRole = (group: string, user: string, role: string) =>
    this.#call<GroupBody>("PUT", `/groups/${id(group)}/members/${id(user)}/role`, {}, { role });
  transferOwnership = (group: string, user_id: string) =>
    this.#call<GroupBody>("PUT", `/groups/${id(group)}/owner`, {}, { user_id });
  messages = (group: string, page: HistoryPage = {}) =>
    this.#call<Messages>("GET", `/groups/${id(group)}/messages`, { ...page });
  statuses = (group: string, message: string, page: Page = {}) =>
    this.#call<Statuses>("GET", `/groups/${id(group)}/messages/${id(message)}/status`, { ...page });
  createUpload = (body: CreateUpload) => this.#call<Upload>("POST", "/media/uploads", {}, body);
  download = (media: string) => this.#call<Download>("GET", `/media/${id(media)}`);
  me = () => this.#call<ProfileBody>("GET", "/users/me");
  putMe = (body: PutProfile) => this.#call<ProfileBody>("PUT", "/users/me", {}, body);
  user = (user: string) => this.#call<ProfileBody>("GET", `/users/${id(user)}`);

  async #call<T>(
    method: Method,
    path: string,
    query: Record<string, string | number | undefined> = {},
    body?: unknown,
  ): Promise<T> {
    const url = new URL(`v1${path}`, this.#options.url);
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#authorized<T>(method, url, body);
      } catch (error) {
        const failure = ParleyError.of(error, "network", true);
        // Only reads: whether a write should be repeated is for its caller to say.
        const waitMs = failure.retryAfterMs ?? READ_RETRY_MS * attempt;
        if (method !== "GET" || !failure.retryable || attempt >= READ_TRIES || waitMs > ANSWER_WAIT_MS) throw failure;
        await wait(waitMs);
      }
    }
  }

  async #authorized<T>(method: Method, url: URL, body: unknown): Promise<T> {
    const token = await this.#options.tokens.get();
    try {
      return await this.#once<T>(method, url, body, token);
    } catch (error) {
      if (!(error instanceof ParleyError) || error.status !== 401) throw error;
      this.#options.tokens.drop(token);
      return this.#once<T>(method, url, body, await this.#options.tokens.get());
    }
  }

  async #once<T>(method: Method, url: URL, body: unknown, token: string): Promise<T> {
    const headers: Record<string, string> = { Authorization: `Bearer ${token}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const { fetch } = this.#options;
    const response = await fetch(url, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_WAIT_MS),
      credentials: "omit",
      cache: "no-store",
    });
    if (response.status === 204) return undefined as T;
    if (response.ok) return (await response.json()) as T;
    throw await refusal(response);
  }
}

/** What the server said, or a proxy before it. */
async function refusal(response: Response): Promise<ParleyError> {
  const envelope = (await response.json().catch(() => undefined)) as ErrorEnvelope | undefined;
  if (envelope?.error?.code) return ParleyError.ofWire(envelope.error, response.status);
  const seconds = Number(response.headers.get("Retry-After") ?? Number.NaN);
  return new ParleyError("unavailable", `HTTP status ${response.status}`, {
    retryable: response.status >= 500 || response.status === 429 || response.status === 408,
    retryAfterMs: Number.isNaN(seconds) ? undefined : seconds * 1000,
    status: response.status,
  });
}
