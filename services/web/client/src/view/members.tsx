/** Who is in a group, and what may be done about it. */

import { useEffect, useState } from "preact/hooks";
import type { Group, MemberBody } from "@parley/sdk";
import { useShared } from "./hooks.ts";
import { Dialog, Icon, idsOf, messageOf, Name, Trouble, UserAvatar } from "./parts.tsx";

const PAGE = 100;

export function Members({ group, onClose }: { group: Group; onClose: () => void }) {
  const { parley, say } = useShared();
  const [members, setMembers] = useState<MemberBody[]>([]);
  const [cursor, setCursor] = useState<string>();
  const [trouble, setTrouble] = useState<string>();
  const me = parley.user;
  const role = members.find((member) => member.user_id === me)?.role ?? (group.info?.owner === me ? "owner" : "member");
  const mayChange = role === "owner" || role === "admin";

  const read = async (from?: string) => {
    const page = await group.members({ cursor: from, limit: PAGE });
    setMembers((known) => (from ? [...known, ...page.members] : page.members));
    setCursor(page.next_cursor ?? undefined);
  };
  const tried = async (what: () => Promise<unknown>, done?: string) => {
    try {
      await what();
      setTrouble(undefined);
      if (done) say(done);
    } catch (error) {
      setTrouble(messageOf(error));
    }
  };
  useEffect(() => {
    void tried(read);
    return group.on("event", () => void tried(read));
  }, [group]);

  const change = (what: () => Promise<unknown>, done: string) => () => void tried(async () => (await what(), await read()), done);
  return (
    <Dialog title="Members" onClose={onClose}>
      {mayChange && <Rename group={group} tried={tried} />}
      {mayChange && <Add onAdd={(ids) => tried(async () => (await group.addMembers(ids), await read()), "Added")} />}
      <Trouble text={trouble} />
      <ul class="people">
        {members.map((member) => (
          <li key={member.user_id}>
            <UserAvatar user={member.user_id} />
            <span class="clip">
              <Name user={member.user_id} />
              {member.user_id === me && " (you)"}
            </span>
            {member.role !== "member" && (
              <span class="role">
                {member.role === "owner" && <Icon name="crown" />} {member.role}
              </span>
            )}
            {member.user_id !== me && mayChange && member.role !== "owner" && (
              <Actions member={member} isOwner={role === "owner"} group={group} change={change} />
            )}
          </li>
        ))}
      </ul>
      {cursor && (
        <button type="button" onClick={() => void tried(() => read(cursor))}>
          More
        </button>
      )}
      <footer class="actions">
        {role !== "owner" && <Sure label="Leave the group" onSure={() => void tried(async () => (await group.leave(), onClose()))} />}
        {role === "owner" && <Sure label="Dissolve the group" onSure={() => void tried(async () => (await group.dissolve(), onClose()))} />}
      </footer>
    </Dialog>
  );
}

function Actions(props: {
  member: MemberBody;
  isOwner: boolean;
  group: Group;
  change: (what: () => Promise<unknown>, done: string) => () => void;
}) {
  const { member, isOwner, group, change } = props;
  const { user_id, role } = member;
  const other = role === "admin" ? "member" : "admin";
  return (
    <details class="more">
      <summary aria-label={`What to do with ${user_id}`}>⋯</summary>
      <div class="menu">
        {isOwner && (
          <button type="button" onClick={change(() => group.setRole(user_id, other), `${user_id} is ${other} now`)}>
            {`Make ${other}`}
          </button>
        )}
        {isOwner && (
          <button type="button" onClick={change(() => group.transferOwnership(user_id), `The group is ${user_id}'s now`)}>
            Transfer the group
          </button>
        )}
        {(isOwner || role === "member") && (
          <button type="button" class="danger" onClick={change(() => group.removeMember(user_id), `${user_id} was removed`)}>
            Remove
          </button>
        )}
      </div>
    </details>
  );
}

function Rename({ group, tried }: { group: Group; tried: (what: () => Promise<unknown>, done?: string) => Promise<void> }) {
  const [name, setName] = useState(group.info?.name ?? "");
  return (
    <form
      class="row"
      onSubmit={(event) => {
        event.preventDefault();
        void tried(() => group.update({ name: name.trim() }), "Renamed");
      }}
    >
      <input aria-label="Name of the group" value={name} onInput={(event) => setName(event.currentTarget.value)} required maxLength={200} />
      <button type="submit" disabled={!name.trim() || name.trim() === group.info?.name}>
        Rename
      </button>
    </form>
  );
}

function Add({ onAdd }: { onAdd: (ids: string[]) => Promise<void> }) {
  const [text, setText] = useState("");
  return (
    <form
      class="row"
      onSubmit={(event) => {
        event.preventDefault();
        void onAdd(idsOf(text)).then(() => setText(""));
      }}
    >
      <input aria-label="User ids to add" placeholder="Add: bob, cat" value={text} onInput={(event) => setText(event.currentTarget.value)} autocapitalize="none" spellcheck={false} />
      <button type="submit" disabled={idsOf(text).length === 0}>
        Add
      </button>
    </form>
  );
}

/** Asks once more. */
function Sure({ label, onSure }: { label: string; onSure: () => void }) {
  const [isAsked, setAsked] = useState(false);
  return isAsked ? (
    <>
      <button type="button" onClick={() => setAsked(false)}>
        No
      </button>
      <button type="button" class="danger" onClick={onSure}>
        {`Yes, ${label.toLowerCase()}`}
      </button>
    </>
  ) : (
    <button type="button" class="danger" onClick={() => setAsked(true)}>
      {label}
    </button>
  );
}
