/** What an event changes in what is known of its group. */

import type { Group } from "./group.js";
import type { Entry } from "./store.js";

/** Applies it; says why, if the user has no part in the group from here on. */
export function applyEvent(group: Group, entry: Entry, user: string): string | undefined {
  const { info } = group.record;
  // What the server told of the group may include events that come only now.
  const isNews = info !== undefined && info.head_seq < entry.data.seq;
  if (isNews) info.head_seq = entry.data.seq;
  if (entry.event === "group_message") {
    if (info && (info.last_message?.seq ?? 0) < entry.data.seq) info.last_message = entry.data;
    return undefined;
  }
  const event = entry.data;
  switch (event.kind) {
    case "group_updated":
      if (isNews) Object.assign(info, { name: event.name, description: event.description });
      return undefined;
    case "owner_transferred":
      if (isNews) info.owner = event.owner;
      return undefined;
    case "member_added":
      if (isNews) info.member_count += event.count;
      return undefined;
    case "member_removed":
      if (isNews) info.member_count -= event.count;
      return event.user_ids.includes(user) ? "not_a_member" : undefined;
    case "message_rolled_back":
      if (info?.last_message?.message_id === event.message_id) {
        info.last_message = { ...info.last_message, text: undefined, media: undefined, media_url: undefined, withheld: "rolled_back" };
      }
      return undefined;
    case "group_dissolved":
      return "group_dissolved";
    default:
      return undefined;
  }
}
