/** The log: events of the user's own groups as they are appended, and a button that cuts the connection. */

import { useEffect, useState } from "preact/hooks";
import type { Line } from "../model/log.ts";
import { sizeOf, useChanges, useShared } from "./hooks.ts";
import { Icon, IconButton } from "./parts.tsx";

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
/** How long a cut lasts if nobody ends it: long enough to miss something. */
const CUT_S = 15;

export function Log({ selected, onClose }: { selected: string | undefined; onClose: () => void }) {
  const { parley, log } = useShared();
  const [isOne, setOne] = useState(false);
  useChanges(log, "changed");
  useChanges(parley, "state", "groups");
  useChanges(parley.outbox, "queued", "sent", "failed", "discarded");
  const lines = isOne ? log.lines.filter((line) => line.kind === "note" || line.group.id === selected) : log.lines;
  const { events, repeats, sessions } = parley.stats;
  return (
    <aside class="log" aria-label="The log">
      <header class="bar">
        <div class="title">
          <h2>The log</h2>
          <p class="subtitle">Your groups' events, as appended</p>
        </div>
        <IconButton icon="close" label="Hide the log" onClick={onClose} />
      </header>
      <div class="log-tools">
        <Cut />
        <label class="check">
          <input type="checkbox" checked={isOne} onChange={(event) => setOne(event.currentTarget.checked)} />
          This group only
        </label>
      </div>
      <dl class="facts">
        <div>
          <dt>Sessions</dt>
          <dd>{sessions}</dd>
        </div>
        <div>
          <dt>Events</dt>
          <dd>{events}</dd>
        </div>
        <div>
          <dt>Repeats</dt>
          <dd>{repeats}</dd>
        </div>
        <div>
          <dt>In the outbox</dt>
          <dd>{parley.outbox.items.length}</dd>
        </div>
      </dl>
      <div class="log-scroll" tabIndex={0} role="region" aria-label="Events, newest first">
        {lines.length === 0 ? (
          <p class="hint">Nothing yet. Write something, or cut the connection, let somebody else write, and connect again.</p>
        ) : (
          <ol class="log-lines">
            {lines.map((line) => (
              <LogLine key={line.key} line={line} />
            ))}
          </ol>
        )}
      </div>
    </aside>
  );
}

function LogLine({ line }: { line: Line }) {
  if (line.kind === "note") {
    return (
      <li class={`note ${line.tone}`}>
        <time>{clock.format(line.at)}</time> {line.text}
      </li>
    );
  }
  const { entry, replayed, group } = line;
  const { position, seq } = entry.data;
  const type = entry.event === "group_message" ? entry.data.type : entry.data.kind;
  return (
    <li class={`appended ${replayed ? "replayed" : ""}`}>
      <span class="seq" title="The group's dense offset">
        <span class="unseen">seq </span>
        {seq}
      </span>
      <span class="what">
        <span class="type">{type}</span>
        <span class="clip group-name">{group.info?.name ?? "…"}</span>
      </span>
      <span class="where" title="Partition and offset in the log">
        <span class="position">{`${position.partition} @ ${position.offset}`}</span>
        <span class="size">{sizeOf(entry.bytes)}</span>
      </span>
      {replayed && <span class="tag">replayed</span>}
    </li>
  );
}

/** Cuts this client's connection; it comes back by itself, or when told. */
function Cut() {
  const { parley } = useShared();
  const [left, setLeft] = useState(0);
  useChanges(parley, "state");
  const reconnect = () => {
    setLeft(0);
    void parley.connect().catch(() => {}); // the banner says it
  };
  useEffect(() => {
    if (left === 0) return undefined;
    const timer = setTimeout(() => (left === 1 ? reconnect() : setLeft(left - 1)), 1_000);
    return () => clearTimeout(timer);
  }, [left]);
  const cut = () => {
    parley.disconnect();
    setLeft(CUT_S);
  };
  return left > 0 ? (
    <button type="button" class="cut is-cut" onClick={reconnect}>
      <Icon name="link" /> {`Connect again (${left})`}
    </button>
  ) : (
    <button type="button" class="cut" onClick={cut} disabled={parley.state !== "connected"}>
      <Icon name="cut" /> Cut connection
    </button>
  );
}
