/** Where it begins. */

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Parley } from "@parley/sdk";
import { remember, remembered, tokenOf, type Identity } from "./model/identity.ts";
import { LogModel } from "./model/log.ts";
import { Names } from "./model/names.ts";
import { App } from "./view/app.tsx";
import { Context, type Shared } from "./view/hooks.ts";
import { SignIn } from "./view/signin.tsx";
import { applyTheme } from "./view/theme.tsx";

/** Events of the past that a new device shows, and at most so many after a long time away. */
const INITIAL_REPLAY = 100;
const REPLAY_LIMIT = 1_000;
/** How long something that was said stays on the screen. */
const SAID_MS = 4_000;

function Root() {
  const [identity, setIdentity] = useState(remembered);
  const [shared, setShared] = useState<Shared>();
  const [trouble, setTrouble] = useState<string>();
  const [said, setSaid] = useState("");

  useEffect(() => {
    if (!said) return undefined;
    const timer = setTimeout(() => setSaid(""), SAID_MS);
    return () => clearTimeout(timer);
  }, [said]);

  useEffect(() => {
    if (!identity) return undefined;
    const parley = new Parley(location.origin, {
      user: identity.user,
      getToken: () => tokenOf(identity),
      initialReplay: INITIAL_REPLAY,
      replayLimit: REPLAY_LIMIT,
    });
    const back = (why?: string) => {
      setTrouble(why);
      remember(undefined);
      setShared(undefined);
      setIdentity(undefined);
    };
    const signOut = () => {
      location.hash = "";
      back();
      void parley.forget().catch(() => {});
    };
    parley.on("group_added", ({ group, added_by }) => {
      if (added_by && added_by !== identity.user) setSaid(`You were added to ${group.info?.name ?? "a group"}`);
    });
    parley.on("group_removed", ({ group, reason }) => {
      const name = group.info?.name ?? "a group";
      setSaid(reason === "group_dissolved" ? `${name} was dissolved` : `You aren't in ${name} any more`);
    });
    // What this device has is shown before there is a connection, and without one.
    parley.load().then(
      () => {
        remember(identity);
        setTrouble(undefined);
        const [names, log] = [new Names(parley), new LogModel(parley)];
        setShared({ parley, names, log, say: setSaid, signOut, signInAgain: () => back() });
        parley.connect().catch(() => {}); // the banner says it
      },
      (error: Error) => back(`This browser keeps no data for the page: ${error.message}`),
    );
    return () => void parley.close().catch(() => {});
  }, [identity]);

  return (
    <>
      {shared ? (
        <Context.Provider value={shared}>
          <App />
        </Context.Provider>
      ) : identity ? null : (
        <SignIn trouble={trouble} onSignIn={(one: Identity) => setIdentity(one)} />
      )}
      <div class={`said ${said ? "" : "unseen"}`} role="status">
        {said}
      </div>
    </>
  );
}

/** Scripts may only come from this one place; the policy of the page sees to it. */
function keepForOffline(): void {
  if (!("serviceWorker" in navigator)) return;
  interface Policy {
    createScriptURL(url: string): string;
  }
  interface Factory {
    createPolicy(name: string, rules: { createScriptURL(url: string): string }): Policy;
  }
  const { trustedTypes } = globalThis as { trustedTypes?: Factory };
  const rules = { createScriptURL: () => "/sw.js" };
  const url = (trustedTypes?.createPolicy("parley", rules) ?? rules).createScriptURL("/sw.js");
  navigator.serviceWorker.register(url).catch(() => {}); // without it only a reload without a connection fails
}

applyTheme();
const root = document.getElementById("app");
if (root) render(<Root />, root);
keepForOffline();
