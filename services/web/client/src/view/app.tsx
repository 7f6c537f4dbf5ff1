/** The whole screen. */

import { useEffect, useState } from "preact/hooks";
import { groupIn } from "../model/place.ts";
import { Conversation } from "./conversation.tsx";
import { useChanges, useShared } from "./hooks.ts";
import { Log } from "./log.tsx";
import { Icon } from "./parts.tsx";
import { Sidebar } from "./sidebar.tsx";

const selectedInUrl = () => groupIn(location.hash);
const isWide = () => matchMedia("(min-width: 1180px)").matches;

export function App() {
  const { parley } = useShared();
  const [selected, setSelected] = useState(selectedInUrl);
  const [isLogOpen, setLogOpen] = useState(isWide);
  useChanges(parley, "groups", "ready", "entry");
  const unread = parley.groups.reduce((sum, one) => sum + one.unread, 0);
  useEffect(() => {
    document.title = unread > 0 ? `(${unread > 999 ? "999+" : unread}) Parley` : "Parley";
  }, [unread]);
  useEffect(() => {
    const changed = () => setSelected(selectedInUrl());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  const select = (id: string | undefined) => {
    location.hash = id ?? "";
    setSelected(id);
    if (!isWide()) setLogOpen(false);
  };
  const group = parley.groups.find((one) => one.id === selected);

  useEffect(() => {
    const move = (event: KeyboardEvent) => {
      if (!event.altKey || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
      const { groups } = parley;
      const at = groups.findIndex((one) => one.id === selected);
      const next = groups[(at + (event.key === "ArrowDown" ? 1 : groups.length - 1)) % Math.max(groups.length, 1)];
      if (!next) return;
      event.preventDefault();
      select(next.id);
    };
    addEventListener("keydown", move);
    return () => removeEventListener("keydown", move);
  }, [selected]);

  return (
    <div class={`app ${group ? "has-group" : ""} ${isLogOpen ? "has-log" : ""}`}>
      <Banner />
      <Sidebar selected={group?.id} onSelect={select} />
      {group ? (
        <Conversation key={group.id} group={group} isLogOpen={isLogOpen} onLog={() => setLogOpen(!isLogOpen)} onBack={() => select(undefined)} />
      ) : (
        <main class="conversation nothing">
          <img src="/icon.svg" alt="" width="72" height="72" />
          <h1>{parley.groups.length === 0 ? "Welcome to Parley" : "Choose a group"}</h1>
          <p class="hint">
            {parley.groups.length === 0
              ? "Create a group, then open another tab and sign in as somebody who is in it."
              : "Alt with the arrow keys goes from one to the next."}
          </p>
        </main>
      )}
      {isLogOpen && <Log selected={group?.id} onClose={() => setLogOpen(false)} />}
    </div>
  );
}

/** Says when there is no connection, and what that means. */
function Banner() {
  const { parley, signInAgain } = useShared();
  const [change, setChange] = useState<{ retryAt: number; error?: string | undefined }>();
  const [, tick] = useState(0);
  useChanges(parley, "state");
  useChanges(parley.outbox, "queued", "sent", "discarded");
  useEffect(
    () =>
      parley.on("state", ({ state, retryInMs, error }) => {
        if (state === "connected") setChange(undefined);
        else if (retryInMs !== undefined || error) setChange({ retryAt: Date.now() + (retryInMs ?? 0), error: error?.message });
      }),
    [parley],
  );
  useEffect(() => {
    if (!change || change.error) return undefined;
    const timer = setInterval(() => tick((count) => count + 1), 1_000);
    return () => clearInterval(timer);
  }, [change]);
  const { state } = parley;
  const waiting = parley.outbox.items.filter((item) => !item.failure).length;
  const queued = waiting === 0 ? "" : ` ${waiting} ${waiting === 1 ? "message waits" : "messages wait"}.`;
  if (state === "connected" || (state === "connecting" && !change)) return <div role="status" class="unseen" />;
  const seconds = Math.max(0, Math.ceil(((change?.retryAt ?? 0) - Date.now()) / 1_000));
  return (
    <div role="status" class={`banner ${change?.error ? "bad" : ""}`}>
      <Icon name="cut" />
      <span>
        {change?.error ? `Signed out by the server: ${change.error}.${queued}` : `You are offline. What you write is kept, and sent later.${queued}`}
      </span>
      {change?.error ? (
        <button type="button" onClick={signInAgain}>
          Sign in again
        </button>
      ) : (
        state === "connecting" && (
          <button type="button" onClick={() => parley.reconnectNow()}>
            {seconds > 0 ? `Try now (${seconds})` : "Connecting…"}
          </button>
        )
      )}
    </div>
  );
}
