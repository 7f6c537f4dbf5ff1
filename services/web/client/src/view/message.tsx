/** One message, or one event of the group. Text only ever becomes a text node. */

import { useState } from "preact/hooks";
import type { Group, GroupEventBody, MessageBody, StatusBody } from "@parley/sdk";
import type { Mark } from "../model/marks.ts";
import type { Outgoing } from "../model/timeline.ts";
import { timeOf, useChanges, useName, useShared } from "./hooks.ts";
import { LocalMedia, MediaView } from "./media.tsx";
import { Dialog, Icon, messageOf, Name, Trouble, UserAvatar } from "./parts.tsx";

const MARKS = {
  sent: { icon: "sent", label: "Sent" },
  delivered: { icon: "both", label: "Delivered to everybody" },
  read: { icon: "both", label: "Read by everybody" },
} as const;

export function Message(props: { message: MessageBody; group: Group; isFirst: boolean; mark: Mark | undefined }) {
  const { message, group, isFirst, mark } = props;
  const [isOpen, setOpen] = useState(false);
  const name = useName(message.sender);
  const { parley } = useShared();
  const isOwn = message.sender === parley.user;
  return (
    <li class={`message ${isOwn ? "own" : "other"} ${isFirst ? "first" : ""}`} data-seq={message.seq}>
      {!isOwn && <span class="gutter">{isFirst && <UserAvatar user={message.sender} />}</span>}
      <div class={`bubble ${message.media ? "with-media" : ""}`}>
        {isFirst && !isOwn && <span class="sender">{name}</span>}
        {isOwn && isFirst && <span class="unseen">You</span>}
        {message.withheld ? (
          <p class="withheld">{message.withheld === "erased" ? "This message was erased" : "This message was withdrawn"}</p>
        ) : (
          <>
            {message.media && <MediaView media={message.media} type={message.type} label={message.text || `${kindName(message.type)} from ${name}`} />}
            {message.text && <p class="text">{message.text}</p>}
          </>
        )}
        <span class="meta">
          <time dateTime={message.created_at}>{timeOf(message.created_at)}</time>
          {mark && (
            <button type="button" class={`mark ${mark}`} aria-label={`${MARKS[mark].label}. Who has read it?`} title={`${MARKS[mark].label}. Who has read it?`} onClick={() => setOpen(true)}>
              <Icon name={MARKS[mark].icon} />
            </button>
          )}
        </span>
      </div>
      {isOpen && <Receipts message={message} group={group} onClose={() => setOpen(false)} />}
    </li>
  );
}

const kindName = (type: string) => ({ image: "Picture", video: "Video", audio: "Audio" })[type] ?? "Message";

/** A message on its way. */
export function Pending({ outgoing, isOnline }: { outgoing: Outgoing; isOnline: boolean }) {
  const { parley, say } = useShared();
  const { item, isSent, progress } = outgoing;
  const { failure } = item;
  const state = failure ? "Not sent" : isSent ? "Sent" : isOnline ? "Sending" : "Waiting for the connection";
  return (
    <li class={`message own first pending ${failure ? "failed" : ""}`} data-pending={item.client_message_id}>
      <div class={`bubble ${item.media ? "with-media" : ""}`}>
        {item.media && <LocalMedia data={item.media.data} type={item.type} />}
        {item.text && <p class="text">{item.text}</p>}
        {item.media && !isSent && !failure && progress !== undefined && (
          <progress max={1} value={progress} aria-label="Upload" />
        )}
        <span class="meta">
          <span class="state">{failure ? `Not sent: ${failure.message}` : ""}</span>
          <time dateTime={item.created_at}>{timeOf(item.created_at)}</time>
          <span class="mark" role="img" aria-label={state} title={state}>
            <Icon name={failure ? "failed" : isSent ? "sent" : "clock"} />
          </span>
        </span>
        {failure && (
          <span class="actions small">
            <button type="button" onClick={() => parley.outbox.retry(item)}>
              Try again
            </button>
            <button type="button" onClick={() => void parley.outbox.discard(item).catch((error: unknown) => say(messageOf(error)))}>
              Discard
            </button>
          </span>
        )}
      </div>
    </li>
  );
}

/** Who has it, and who has read it. */
function Receipts({ message, group, onClose }: { message: MessageBody; group: Group; onClose: () => void }) {
  const [statuses, setStatuses] = useState<StatusBody[]>();
  const [count, setCount] = useState("");
  const [trouble, setTrouble] = useState<string>();
  const [isAsked, setAsked] = useState(false);
  if (!isAsked) {
    setAsked(true);
    group.statuses(message.message_id, { limit: 200 }).then(
      ({ statuses, read_count, member_count }) => {
        setStatuses(statuses);
        setCount(`Read by ${read_count} of ${member_count}`);
      },
      (error: unknown) => setTrouble(messageOf(error)),
    );
  }
  const word = (status: StatusBody) => (status.read ? "Read" : status.delivered ? "Delivered" : "Sent");
  return (
    <Dialog title="Who has read it" onClose={onClose}>
      <p class="hint">{count}</p>
      <Trouble text={trouble} />
      <ul class="people">
        {statuses?.map((status) => (
          <li key={status.user_id}>
            <UserAvatar user={status.user_id} />
            <span class="clip">
              <Name user={status.user_id} />
            </span>
            <span class={`mark ${word(status).toLowerCase()}`}>
              <Icon name={word(status) === "Sent" ? "sent" : "both"} /> {word(status)}
            </span>
          </li>
        ))}
        {statuses?.length === 0 && <li>Nobody else was in the group.</li>}
      </ul>
    </Dialog>
  );
}

/** What happened in the group. */
export function Happening({ event }: { event: GroupEventBody }) {
  const { names } = useShared();
  useChanges(names, "changed");
  const text = describe(event, (user) => names.of(user));
  return text ? (
    <li class="happening" data-seq={event.seq}>
      {text}
    </li>
  ) : null;
}

const LISTED = 3;

function describe(event: GroupEventBody, name: (user: string) => string): string | undefined {
  const actor = name(event.actor);
  const listed = (users: readonly string[], count: number) => {
    const named = users.slice(0, LISTED).map(name);
    return count > named.length ? `${named.join(", ")} and ${count - named.length} more` : named.join(", ");
  };
  switch (event.kind) {
    case "group_created":
      return `${actor} created the group`;
    case "member_added":
      return `${actor} added ${listed(event.user_ids, event.count)}`;
    case "member_removed":
      return event.count === 1 && event.user_ids[0] === event.actor
        ? `${actor} left`
        : `${actor} removed ${listed(event.user_ids, event.count)}`;
    case "role_changed":
      return `${actor} made ${name(event.user_id)} ${event.role === "admin" ? "an admin" : "a member"}`;
    case "owner_transferred":
      return `${actor} gave the group to ${name(event.owner)}`;
    case "group_updated":
      return `${actor} named the group “${event.name}”`;
    case "group_dissolved":
      return `${actor} dissolved the group`;
    case "message_rolled_back":
      return undefined; // its message says so
    default:
      return undefined; // of a later version: one more seq, nothing to show
  }
}
