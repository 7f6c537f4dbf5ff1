/** The user's groups. */

import { useState } from "preact/hooks";
import type { Group, MessageBody } from "@parley/sdk";
import { shortOf, useChanges, useName, useShared } from "./hooks.ts";
import { Avatar, Dialog, Icon, IconButton, idsOf, messageOf, Trouble, UserAvatar } from "./parts.tsx";
import { ThemeButton } from "./theme.tsx";

export function Sidebar({ selected, onSelect }: { selected: string | undefined; onSelect: (id: string) => void }) {
  const { parley, signOut } = useShared();
  const [dialog, setDialog] = useState<"create" | "profile" | "out">();
  useChanges(parley, "groups", "entry", "state", "ready");
  const { groups } = parley;
  return (
    <nav class="sidebar" aria-label="Groups">
      <header class="bar">
        <button class="me" type="button" onClick={() => setDialog("profile")} title="Your profile">
          <UserAvatar user={parley.user} />
          <span class="me-name">
            <Me user={parley.user} />
          </span>
        </button>
        <ThemeButton />
        <IconButton icon="out" label="Sign out" onClick={() => (parley.outbox.items.length > 0 ? setDialog("out") : signOut())} />
        <IconButton icon="plus" label="New group" class="accent" onClick={() => setDialog("create")} />
      </header>
      <ul class="groups">
        {groups.map((group) => (
          <Item key={group.id} group={group} isSelected={group.id === selected} onSelect={onSelect} />
        ))}
      </ul>
      {groups.length === 0 && (
        <div class="empty">
          <p>No groups yet.</p>
          <button type="button" class="primary" onClick={() => setDialog("create")}>
            <Icon name="plus" /> New group
          </button>
        </div>
      )}
      {dialog === "create" && <Create onClose={() => setDialog(undefined)} onSelect={onSelect} />}
      {dialog === "profile" && <Profile onClose={() => setDialog(undefined)} />}
      {dialog === "out" && <SignOut onClose={() => setDialog(undefined)} />}
    </nav>
  );
}

function Me({ user }: { user: string }) {
  const name = useName(user);
  return (
    <>
      <strong>{name}</strong>
      {name !== user && <small>{user}</small>}
    </>
  );
}

function Item({ group, isSelected, onSelect }: { group: Group; isSelected: boolean; onSelect: (id: string) => void }) {
  useChanges(group, "changed");
  const name = group.info?.name ?? "…";
  const last = group.info?.last_message;
  return (
    <li>
      <button type="button" class="group-item" aria-current={isSelected ? "true" : undefined} onClick={() => onSelect(group.id)}>
        <Avatar id={group.id} name={name} kind="group" />
        <span class="group-text">
          <span class="group-top">
            <strong class="clip">{name}</strong>
            <small>{last ? shortOf(last.created_at) : ""}</small>
          </span>
          <span class="group-bottom">
            <span class="clip preview">{last ? <Preview message={last} /> : `${group.info?.member_count ?? 1} members`}</span>
            {group.unread > 0 && (
              <span class="badge">
                {group.unread > 999 ? "999+" : group.unread}
                <span class="unseen"> unread</span>
              </span>
            )}
          </span>
        </span>
      </button>
    </li>
  );
}

function Preview({ message }: { message: MessageBody }) {
  const { parley } = useShared();
  const name = useName(message.sender);
  const kinds: Record<string, string> = { image: "Picture", video: "Video", audio: "Audio" };
  const kind = kinds[message.type];
  const text = message.withheld ? "withdrawn" : (message.text ?? kind ?? "message");
  return <>{`${message.sender === parley.user ? "You" : name}: ${text}`}</>;
}

function Create({ onClose, onSelect }: { onClose: () => void; onSelect: (id: string) => void }) {
  const { parley } = useShared();
  const [name, setName] = useState("");
  const [members, setMembers] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [trouble, setTrouble] = useState<string>();
  const create = async () => {
    setBusy(true);
    try {
      const group = await parley.createGroup({ name: name.trim(), members: idsOf(members) });
      onSelect(group.id);
      onClose();
    } catch (error) {
      setTrouble(messageOf(error));
      setBusy(false);
    }
  };
  return (
    <Dialog title="New group" onClose={onClose}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void create();
        }}
      >
        <label>
          Name
          <input value={name} onInput={(event) => setName(event.currentTarget.value)} required maxLength={200} autofocus />
        </label>
        <label>
          Members
          <input value={members} onInput={(event) => setMembers(event.currentTarget.value)} placeholder="bob, cat" autocapitalize="none" spellcheck={false} />
          <small>User ids, with commas between them. You are in it anyway.</small>
        </label>
        <Trouble text={trouble} />
        <div class="actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={isBusy || !name.trim()}>
            Create
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** Asks those who would lose something. */
function SignOut({ onClose }: { onClose: () => void }) {
  const { parley, signOut } = useShared();
  useChanges(parley.outbox, "queued", "sent", "discarded");
  const count = parley.outbox.items.length;
  const lost = count === 1 ? "1 message isn't sent yet, and will be lost." : `${count} messages aren't sent yet, and will be lost.`;
  return (
    <Dialog title="Sign out?" onClose={onClose}>
      <p>{count === 0 ? "Everything is sent." : lost}</p>
      <div class="actions">
        <button type="button" onClick={onClose}>
          Stay
        </button>
        <button type="button" class={count === 0 ? "primary" : "danger"} onClick={signOut}>
          Sign out
        </button>
      </div>
    </Dialog>
  );
}

function Profile({ onClose }: { onClose: () => void }) {
  const { parley, names } = useShared();
  const [name, setName] = useState(names.of(parley.user));
  const [trouble, setTrouble] = useState<string>();
  const save = async () => {
    try {
      const { display_name } = await parley.profiles.update({ display_name: name.trim() });
      names.set(parley.user, display_name);
      onClose();
    } catch (error) {
      setTrouble(messageOf(error));
    }
  };
  return (
    <Dialog title="Your profile" onClose={onClose}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void save();
        }}
      >
        <label>
          Display name
          <input value={name} onInput={(event) => setName(event.currentTarget.value)} required maxLength={100} autofocus />
          <small>
            Your user id stays <code>{parley.user}</code>.
          </small>
        </label>
        <Trouble text={trouble} />
        <div class="actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={!name.trim()}>
            Save
          </button>
        </div>
      </form>
    </Dialog>
  );
}
