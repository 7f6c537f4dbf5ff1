/** A group's messages, as they come and as they were. */

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Entry, Group } from "@parley/sdk";
import { Marks } from "../model/marks.ts";
import { Timeline } from "../model/timeline.ts";
import { Composer } from "./composer.tsx";
import { dayOf, useChanges, useName, useShared } from "./hooks.ts";
import { Members } from "./members.tsx";
import { Happening, Message, Pending } from "./message.tsx";
import { Avatar, Icon, IconButton } from "./parts.tsx";

/** So near to the end counts as the end. */
const NEAR_PX = 80;
/** So near to either end of the window more is read. */
const MORE_PX = 300;
/** Messages of one sender within this stand together. */
const TOGETHER_MS = 5 * 60_000;
/** So long somebody counts as typing. */
const TYPING_MS = 4_000;

export function Conversation(props: { group: Group; isLogOpen: boolean; onLog: () => void; onBack: () => void }) {
  const { group, isLogOpen, onLog, onBack } = props;
  const { parley } = useShared();
  const timeline = useMemo(() => new Timeline(parley, group), [group]);
  const marks = useMemo(() => new Marks(parley, group), [group]);
  useEffect(() => () => (timeline.close(), marks.close()), [timeline]);
  useChanges(timeline, "changed");
  useChanges(marks, "changed");
  useChanges(group, "changed");
  useChanges(parley, "state");
  const [isMembersOpen, setMembersOpen] = useState(false);
  const name = group.info?.name ?? "…";
  return (
    <main class="conversation" aria-label={name}>
      <header class="bar">
        <IconButton icon="back" label="Back to the groups" class="only-narrow" onClick={onBack} />
        <Avatar id={group.id} name={name} kind="group" />
        <div class="title">
          <h1 class="clip">{name}</h1>
          <Subtitle group={group} />
        </div>
        <IconButton icon="members" label="Members and settings" onClick={() => setMembersOpen(true)} />
        <IconButton icon="log" label="Show the log" pressed={isLogOpen} onClick={onLog} />
      </header>
      <Messages timeline={timeline} marks={marks} group={group} isOnline={parley.state === "connected"} />
      <Composer key={group.id} group={group} />
      {isMembersOpen && <Members group={group} onClose={() => setMembersOpen(false)} />}
    </main>
  );
}

function Subtitle({ group }: { group: Group }) {
  const [typing, setTyping] = useState<{ user: string; at: number }>();
  useEffect(() => {
    setTyping(undefined);
    const stops = [
      group.on("typing", ({ user_id }) => setTyping({ user: user_id, at: Date.now() })),
      group.on("message", ({ message }) => setTyping((now) => (now?.user === message.sender ? undefined : now))),
    ];
    return () => stops.forEach((stop) => stop());
  }, [group]);
  useEffect(() => {
    if (!typing) return undefined;
    const timer = setTimeout(() => setTyping(undefined), TYPING_MS);
    return () => clearTimeout(timer);
  }, [typing]);
  const count = group.info?.member_count ?? 1;
  return (
    <p class="subtitle clip" aria-live="polite">
      {typing ? <Typing user={typing.user} /> : `${count} ${count === 1 ? "member" : "members"}`}
    </p>
  );
}

function Typing({ user }: { user: string }) {
  return <span class="typing">{`${useName(user)} is typing…`}</span>;
}

function Messages(props: { timeline: Timeline; marks: Marks; group: Group; isOnline: boolean }) {
  const { timeline, marks, group, isOnline } = props;
  const { parley } = useShared();
  const scroller = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  /** Where the list stood when it was last looked at. */
  const stood = useRef({ top: 0, range: 0 });
  const anchor = useRef<{ seq: string; top: number }>(undefined);
  const [isFar, setFar] = useState(false);
  const { entries, outgoing } = timeline;
  const last = entries.at(-1)?.data.seq ?? 0;

  // What is read stays where it is, whatever comes or goes above it; what is new is followed only from the end.
  const hold = () => {
    const element = scroller.current;
    if (!element) return;
    for (const row of element.querySelectorAll<HTMLElement>("[data-seq]")) {
      if (row.offsetTop + row.offsetHeight <= element.scrollTop) continue;
      anchor.current = { seq: row.dataset["seq"] ?? "", top: row.offsetTop - element.scrollTop };
      return;
    }
  };
  const isFollowing = () => isAtEnd.current && !timeline.isDetached;
  const look = (element: HTMLElement) => {
    stood.current = { top: element.scrollTop, range: element.scrollHeight - element.clientHeight };
    return stood.current;
  };
  const follow = (element: HTMLElement) => {
    element.scrollTop = element.scrollHeight;
    look(element);
  };
  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const held = anchor.current && element.querySelector<HTMLElement>(`[data-seq="${anchor.current.seq}"]`);
    if (isFollowing()) follow(element);
    else if (held && anchor.current) element.scrollTop = held.offsetTop - anchor.current.top;
    hold();
  });
  // Pictures grow when they come, and a notice or a keyboard takes of the height.
  useEffect(() => {
    const element = scroller.current;
    const list = element?.firstElementChild;
    if (!element || !list) return undefined;
    const observer = new ResizeObserver(() => {
      if (isFollowing()) follow(element);
      if (element.scrollHeight <= element.clientHeight) void timeline.loadOlder();
    });
    observer.observe(list);
    observer.observe(element);
    return () => observer.disconnect();
  }, [timeline]);

  const see = () => {
    const isSeen = document.visibilityState === "visible" && isFollowing();
    if (isSeen && timeline.isLoaded) group.markRead(last);
  };
  useEffect(see);
  useEffect(() => {
    document.addEventListener("visibilitychange", see);
    return () => document.removeEventListener("visibilitychange", see);
  }, [timeline, last]);

  const scrolled = () => {
    const element = scroller.current;
    if (!element) return;
    const before = stood.current;
    const { top, range } = look(element);
    const below = range - top;
    // Only somebody who scrolls up leaves the end. The event comes late, and what has grown or gone since isn't their doing.
    const isUp = range === before.range && top < before.top;
    if (below < NEAR_PX) isAtEnd.current = true;
    else if (isUp) isAtEnd.current = false;
    else if (isFollowing()) follow(element);
    setFar(!isAtEnd.current);
    hold();
    if (element.scrollTop < MORE_PX) void timeline.loadOlder();
    else if (below < MORE_PX) void timeline.loadNewer();
    see();
  };
  const toEnd = () => {
    isAtEnd.current = true;
    if (timeline.isDetached) void timeline.load();
    if (scroller.current) follow(scroller.current);
  };

  return (
    <div class="messages-frame">
      <div class="messages" ref={scroller} onScroll={scrolled} tabIndex={0} role="log" aria-live="polite" aria-label="Messages" aria-busy={timeline.isLoading}>
        <ol>
          {timeline.isLoading && <li class="happening">Loading…</li>}
          {timeline.trouble && <li class="happening">{timeline.trouble}</li>}
          {!timeline.hasOlder && timeline.isLoaded && <li class="happening beginning">The beginning of the conversation</li>}
          {entries.map((entry, at) => (
            <Row key={entry.data.seq} entry={entry} before={entries[at - 1]} group={group} marks={marks} user={parley.user} />
          ))}
          {outgoing.map((one) => (
            <Pending key={one.item.client_message_id} outgoing={one} isOnline={isOnline} />
          ))}
        </ol>
      </div>
      {(isFar || timeline.isDetached) && (
        <button type="button" class="to-end" onClick={toEnd} aria-label="To the newest message">
          <Icon name="down" />
          {group.unread > 0 && <span class="badge">{group.unread}</span>}
        </button>
      )}
    </div>
  );
}

function Row(props: { entry: Entry; before: Entry | undefined; group: Group; marks: Marks; user: string }) {
  const { entry, before, group, marks, user } = props;
  const { created_at } = entry.data;
  const isNewDay = !before || dayOf(before.data.created_at) !== dayOf(created_at);
  const day = isNewDay ? <li class="day">{dayOf(created_at)}</li> : null;
  if (entry.event === "group_event") {
    return (
      <>
        {day}
        <Happening event={entry.data} />
      </>
    );
  }
  const isTogether =
    !isNewDay &&
    before?.event === "group_message" &&
    before.data.sender === entry.data.sender &&
    Date.parse(created_at) - Date.parse(before.data.created_at) < TOGETHER_MS;
  const mark = entry.data.sender === user ? marks.of(entry.data.seq) : undefined;
  return (
    <>
      {day}
      <Message message={entry.data} group={group} isFirst={!isTogether} mark={mark} />
    </>
  );
}
