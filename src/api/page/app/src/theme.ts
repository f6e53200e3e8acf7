// Dark or light: as the system says until the reader says otherwise. Colours are in the style sheet alone.

const KEY = "tapedeck.theme";
const heard: (() => void)[] = [];

export function isDark(): boolean {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

export function onTheme(listener: () => void): void {
  heard.push(listener);
}

function show(): void {
  const button = document.querySelector<HTMLButtonElement>("#theme")!;
  button.textContent = isDark() ? "\u263e" : "\u2600";
  button.setAttribute("aria-label", isDark() ? "Dark; switch to light" : "Light; switch to dark");
  for (const listener of heard) listener();
}

export function toggleTheme(): void {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem(KEY, next);
  show();
}

export function startTheme(): void {
  const stored = localStorage.getItem(KEY);
  if (stored === "dark" || stored === "light") document.documentElement.dataset.theme = stored;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  document.querySelector<HTMLButtonElement>("#theme")!.onclick = toggleTheme;
  show();
}

/** The present value of a colour of the style sheet, as canvases understand it. */
export function colour(name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
