// The page: symbols at the left, the chart of one, how the recording does at the right.

import { INTERVALS, Refused, get, type Bar, type Interval, type Listed, type System } from "./api";
import { Chart } from "./chart";
import { List, keyOf, type Row } from "./list";
import { Live } from "./live";
import { Panels } from "./panels";
import { change, direction, fit, grouped, short } from "./text";
import { onTheme, startTheme, toggleTheme } from "./theme";

const $ = <T extends HTMLElement>(selector: string): T => document.querySelector<T>(selector)!;
const LAST = "tapedeck.last";
const SYSTEM_MS = 3_000;
/** How long a connection may be gone before the page says so. */
const PATIENCE_MS = 1_200;

let selected: Row | null = null;
let interval: Interval = "1m";
let listLive: Live | null = null;
/** Whose connection is gone, since when, and when it is tried again. */
const gone = new Map<string, { since: number; retryAt: number; why: string }>();

const list = new List($("#list"), $<HTMLInputElement>("#filter"), $("#list-foot"), (row) => choose(row, interval));
startTheme();
const chart = new Chart($("#chart"), $("#legend"), $("#note"), $<HTMLButtonElement>("#newest"), {
  lost: (retryAt, why) => lost("chart", retryAt, why),
  series: () => void gapsAgain(),
});
const panels = new Panels($("#panels"), (ms) => void chart.goTo(ms));

function lost(who: string, retryAt: number | null, why: string): void {
  if (retryAt === null) gone.delete(who);
  else gone.set(who, { since: gone.get(who)?.since ?? Date.now(), retryAt, why });
  banner();
}

function banner(): void {
  const now = Date.now();
  const all = [...gone.values()];
  const first = Math.min(...all.map((g) => g.since));
  const shown = all.length > 0 && now - first >= PATIENCE_MS;
  $("#banner").hidden = !shown;
  document.body.classList.toggle("stale", shown);
  const link = $("#link");
  link.className = all.length ? (shown ? "bad" : "warn") : "good";
  link.textContent = all.length ? (shown ? "offline" : "connecting") : "live";
  if (shown) {
    const wait = Math.max(0, Math.ceil((Math.min(...all.map((g) => g.retryAt)) - now) / 1_000));
    const why = all.find((g) => g.why)?.why;
    const text = `Connection lost${why ? ` (${why})` : ""}: prices do not change. ${wait > 0 ? `Trying again in ${wait} s.` : "Trying again."}`;
    // Said only when it changes, so that a screen reader is not flooded.
    if ($("#banner-text").textContent !== text) $("#banner-text").textContent = text;
  }
}

function kick(reconnect = false): void {
  listLive?.kick(reconnect);
  chart.kick(reconnect);
}

function choose(row: Row, next: Interval): void {
  selected = row;
  interval = next;
  for (const b of $("#intervals").children as HTMLCollectionOf<HTMLButtonElement>) {
    const on = b.dataset.interval === next;
    b.setAttribute("aria-checked", String(on));
    b.tabIndex = on ? 0 : -1;
  }
  $("#what-symbol").textContent = row.symbol;
  $("#what-venue").textContent = row.venue;
  const where = `${keyOf(row.venue, row.symbol)}/${next}`;
  history.replaceState(null, "", `#${encodeURI(where)}`);
  localStorage.setItem(LAST, where);
  chart.show(row, next);
  headline();
  closeList();
}

/** Price and day of the chosen symbol. */
function headline(): void {
  const day = selected?.day;
  const price = $("#price");
  if (!selected || !day) {
    price.textContent = "\u2013";
    $("#day").replaceChildren();
    return;
  }
  const close = fit(day.close, selected.places);
  const way = /[1-9]/.test(change(day.open, day.close)) ? direction(day.open, day.close) : 0;
  const cls = way > 0 ? "rise" : way < 0 ? "fall" : "";
  if (price.firstChild?.textContent !== close) {
    const main = document.createElement("b");
    main.textContent = close;
    const small = document.createElement("small");
    small.textContent = change(day.open, day.close);
    price.replaceChildren(main, small);
    price.className = cls;
    document.title = `${close} ${selected.symbol}`;
  }
  const facts: [string, string, string][] = [
    ["High", fit(day.high, selected.places), ""],
    ["Low", fit(day.low, selected.places), ""],
    ["Volume", short(day.volume), day.volume],
    ["Quote", short(day.quote_volume), day.quote_volume],
    ["Trades", grouped(day.trades), ""],
  ];
  const box = $("#day");
  if (box.children.length !== facts.length) {
    box.replaceChildren(...facts.map(() => {
      const div = document.createElement("div");
      div.append(document.createElement("dt"), document.createElement("dd"));
      return div;
    }));
  }
  facts.forEach(([name, value, title], i) => {
    const div = box.children[i] as HTMLElement;
    div.firstElementChild!.textContent = name;
    div.lastElementChild!.textContent = value;
    div.title = title;
  });
}

let symbolsAsked = 0;
async function symbols(): Promise<void> {
  if (Date.now() - symbolsAsked < 2_000) return;
  symbolsAsked = Date.now();
  list.symbols(await get<Listed[]>("/v1/symbols"));
  if (!selected) first();
}

/** The series of the address, else the last one seen, else the first. */
function first(): void {
  const named = (text: string | null) => {
    const parts = (text ?? "").split("/");
    const of = INTERVALS.find((i) => i === parts[parts.length - 1]);
    const row = of && list.rows.get(parts.slice(0, -1).join("/"));
    return row && of ? { row, of } : null;
  };
  const any = [...list.rows.values()];
  const row = any.find((r) => r.symbol.startsWith("BTC")) ?? any[0];
  const wanted = named(decodeURI(location.hash.slice(1))) ?? named(localStorage.getItem(LAST)) ?? (row ? { row, of: interval } : null);
  if (!wanted) return;
  interval = wanted.of;
  list.pick(wanted.row, true);
}

let gapsFor = 0;
async function gapsAgain(): Promise<void> {
  const s = chart.series;
  if (!s) return;
  gapsFor = Date.now();
  await panels.gaps(s.what.venue, s.what.symbol, s.interval);
}

let failures = 0;
async function system(): Promise<void> {
  try {
    await panels.system(await get<System>("/v1/system"));
    if (failures) {
      failures = 0;
      lost("status", null, "");
      kick();
    }
    if (Date.now() - gapsFor > 15_000) await gapsAgain();
    if (Date.now() - symbolsAsked > 60_000) await symbols();
  } catch (why) {
    if (!(why instanceof Refused)) {
      failures++;
      panels.silent();
      lost("status", Date.now() + SYSTEM_MS, "");
      // A connection that died without a word looks alive: this is how it is found out.
      if (failures === 3) kick(true);
    }
  }
  setTimeout(() => void system(), SYSTEM_MS);
}

function openList(open: boolean): void {
  document.body.classList.toggle("listing", open);
  $("#open-list").setAttribute("aria-expanded", String(open));
  if (open) $("#filter").focus();
}

function closeList(): void {
  if (document.body.classList.contains("listing")) {
    openList(false);
    $("#chart").focus();
  }
}

function keys(): void {
  $<HTMLDialogElement>("#keys").showModal();
}

function step(by: number): void {
  const next = INTERVALS[INTERVALS.indexOf(interval) + by];
  if (next && selected) choose(selected, next);
}

document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.altKey || e.metaKey) return;
  const target = e.target as HTMLElement;
  if (target instanceof HTMLInputElement || document.querySelector("dialog[open]")) return;
  const number = INTERVALS[Number(e.key) - 1];
  if (e.key === "/") {
    if (matchMedia("(max-width: 759px)").matches) openList(true);
    $<HTMLInputElement>("#filter").select();
    $("#filter").focus();
  } else if (number && selected) choose(selected, number);
  else if (e.key === "[") step(-1);
  else if (e.key === "]") step(1);
  else if (e.key === "t") toggleTheme();
  else if (e.key === "?") keys();
  else if (e.key === "Escape") closeList();
  else if ((e.key === "ArrowDown" || e.key === "ArrowUp") && (target === document.body || target.closest("#intervals"))) {
    $("#list").focus();
    return;
  } else return;
  e.preventDefault();
});

$("#intervals").append(...INTERVALS.map((i, n) => {
  const b = document.createElement("button");
  b.type = "button";
  b.textContent = i;
  b.dataset.interval = i;
  b.title = `${i} (${n + 1})`;
  b.setAttribute("role", "radio");
  b.setAttribute("aria-checked", "false");
  b.onclick = () => { if (selected) choose(selected, i); };
  return b;
}));
$("#intervals").addEventListener("keydown", (e) => {
  const by = e.key === "ArrowRight" ? 1 : e.key === "ArrowLeft" ? -1 : 0;
  if (!by) return;
  step(by);
  $(`#intervals [data-interval="${interval}"]`).focus();
  e.preventDefault();
  e.stopPropagation();
});
$("#help").onclick = keys;
$("#keys-close").onclick = () => $<HTMLDialogElement>("#keys").close();
$("#open-list").onclick = () => openList(!document.body.classList.contains("listing"));
$("#banner-now").onclick = () => kick();
window.addEventListener("online", () => kick(true));
document.addEventListener("visibilitychange", () => { if (!document.hidden && gone.size) kick(); });
window.addEventListener("hashchange", () => { selected = null; first(); });
onTheme(headline);

setInterval(() => {
  $("#clock").textContent = `${new Date().toISOString().slice(11, 19)} UTC`;
  banner();
}, 500);

async function start(): Promise<void> {
  try {
    await symbols();
  } catch (why) {
    if (why instanceof Refused) {
      $("#note").hidden = false;
      $("#note").textContent = why.message;
      $("#list-foot").textContent = "";
      void system();
      return;
    }
    lost("status", Date.now() + 2_000, "");
    setTimeout(() => void start(), 2_000);
    return;
  }
  listLive = new Live({ intervals: "1d", every_ms: 250 }, {
    snapshot: (bars) => days(bars),
    delta: (bars) => days(bars),
    lost: (retryAt, why) => lost("list", retryAt, why),
  });
  void system();
}

function days(bars: Bar[]): void {
  if (list.days(bars)) void symbols().then(() => list.days(bars));
  if (selected && bars.some((b) => b.symbol === selected!.symbol && b.venue === selected!.venue)) {
    requestAnimationFrame(headline);
  }
  if (!selected) first();
}

void start();
