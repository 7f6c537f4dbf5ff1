/** The first screen. */

import { useEffect, useState } from "preact/hooks";
import { isDevelopment, recent, userOf, type Identity } from "../model/identity.ts";
import { Trouble } from "./parts.tsx";

const SUGGESTED = ["ann", "bob", "cat"];

export function SignIn({ trouble, onSignIn }: { trouble: string | undefined; onSignIn: (identity: Identity) => void }) {
  const [offered, setOffered] = useState<boolean>();
  useEffect(() => void isDevelopment().then(setOffered), []);
  return (
    <main class="signin">
      <div class="signin-card">
        <img src="/icon.svg" alt="" width="56" height="56" />
        <h1>Parley</h1>
        <p class="lead">Group chat that loses nothing.</p>
        <Trouble text={trouble} />
        {offered === undefined ? null : offered ? <AsUser onSignIn={onSignIn} /> : <WithToken onSignIn={onSignIn} />}
      </div>
    </main>
  );
}

function AsUser({ onSignIn }: { onSignIn: (identity: Identity) => void }) {
  const [user, setUser] = useState("");
  const names = [...new Set([...recent(), ...SUGGESTED])].slice(0, 5);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (user.trim()) onSignIn({ user: user.trim() });
      }}
    >
      <label for="user">Who are you?</label>
      <div class="row">
        <input id="user" name="user" value={user} onInput={(event) => setUser(event.currentTarget.value)} maxLength={128} placeholder="User id" autocomplete="username" autocapitalize="none" spellcheck={false} autofocus required />
        <button class="primary" type="submit">
          Sign in
        </button>
      </div>
      <div class="chips" role="group" aria-label="Sign in at once as">
        {names.map((name) => (
          <button key={name} type="button" class="chip" onClick={() => onSignIn({ user: name })}>
            {name}
          </button>
        ))}
      </div>
      <p class="hint">
        This server runs on your own machine, with its own key: you may be anybody. Each tab can be somebody else.
      </p>
    </form>
  );
}

function WithToken({ onSignIn }: { onSignIn: (identity: Identity) => void }) {
  const [token, setToken] = useState("");
  const user = userOf(token.trim());
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (user) onSignIn({ user, token: token.trim() });
      }}
    >
      <label for="token">Your token</label>
      <textarea id="token" rows={4} value={token} onInput={(event) => setToken(event.currentTarget.value)} spellcheck={false} autocomplete="off" required />
      <button class="primary" type="submit" disabled={!user}>
        {user ? `Sign in as ${user}` : "Sign in"}
      </button>
      <p class="hint">Your identity provider, or whoever runs this server, gives you one (a JWT).</p>
    </form>
  );
}
