/** What a client asks for when it is back: its own place in every group, in frames that the server takes. */

import { byteLength, FRAME_OVERHEAD_BYTES } from "./connection.js";
import type { GroupRecord } from "./store.js";
import type { ResumeFrom } from "./wire.js";

/** Groups that one `resume` may name. */
const GROUPS_MAX = 500;

/** The groups of each `resume`: as many as it may name, and as fit into a frame. */
export function resumeParts(records: Iterable<GroupRecord>, frameBytesMax: number): ResumeFrom[][] {
  const parts: ResumeFrom[][] = [];
  let part: ResumeFrom[] = [];
  let left = 0;
  for (const { group_id, epoch, seq } of records) {
    const group = { group_id, epoch, after_seq: seq };
    const bytes = byteLength(JSON.stringify(group)) + 1;
    if (parts.length === 0 || part.length >= GROUPS_MAX || bytes > left) {
      parts.push((part = []));
      left = frameBytesMax - FRAME_OVERHEAD_BYTES;
    }
    part.push(group);
    left -= bytes;
  }
  return parts;
}
