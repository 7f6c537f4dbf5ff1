/** Light, dark, or as the system has it. */

import { useState } from "preact/hooks";
import { IconButton } from "./parts.tsx";

const KEY = "parley.theme";
const THEMES = ["auto", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];
const ICONS = { auto: "auto", light: "sun", dark: "moon" } as const;

function stored(): Theme {
  const theme = localStorage.getItem(KEY);
  return THEMES.find((one) => one === theme) ?? "auto";
}

export function applyTheme(theme: Theme = stored()): void {
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

export function ThemeButton() {
  const [theme, setTheme] = useState(stored);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "auto";
  const change = () => {
    localStorage.setItem(KEY, next);
    applyTheme(next);
    setTheme(next);
  };
  return <IconButton icon={ICONS[theme]} label={`Theme: ${theme}. Change to ${next}`} onClick={change} />;
}
