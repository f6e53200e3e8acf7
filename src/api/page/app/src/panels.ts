// How the recording does: feeds, logs, disk, memory, candles, gaps. Updated only where a text changed.

import { get, type Bar, type Stream, type System } from "./api";
import { age, bytes, grouped, when } from "./text";

type Level = "good" | "warn" | "bad" | "idle";

function el(tag: string, cls = "", text = ""): HTMLElement {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  if (text) e.textContent = text;
  return e;
}

function row(label: string, value: string, title = "", level?: Level): HTMLElement {
  const e = el("div", "pair");
  const name = el("span", "", label);
  if (level) name.prepend(dot(level));
  e.append(name, el("span", "num", value));
  if (title) e.title = title;
  return e;
}

const WORDS: Record<Level, string> = { good: "well", warn: "with problems", bad: "not working", idle: "nothing known" };

function dot(level: Level): HTMLElement {
  const e = el("i", `dot ${level}`);
  e.setAttribute("role", "img");
  e.setAttribute("aria-label", WORDS[level]);
  return e;
}

function meter(label: string, parts: { cls: string; part: number }[]): HTMLElement {
  const e = el("div", "meter");
  e.setAttribute("role", "meter");
  e.setAttribute("aria-label", label);
  const whole = parts.reduce((sum, p) => sum + p.part, 0);
  e.setAttribute("aria-valuenow", String(Math.round(whole * 100)));
  e.setAttribute("aria-valuemin", "0");
  e.setAttribute("aria-valuemax", "100");
  for (const { cls, part } of parts) {
    const bar = el("i", cls);
    bar.style.width = `${Math.min(100, Math.max(part * 100, part > 0 ? 0.6 : 0))}%`;
    e.append(bar);
  }
  return e;
}

/** Streams shown of one venue. */
const STREAMS_MAX = 500;

export class Panels {
  private readonly open = new Set<string>();
  /** Venues all of whose streams are wanted, with what was heard of them last. */
  private readonly full = new Map<string, Stream[]>();
  private readonly drawn = new Map<string, string>();
  private held = false;

  constructor(private readonly root: HTMLElement, private readonly goTo: (ms: number) => void) {
    // Nothing is exchanged under a finger that is down: its click would be lost.
    root.addEventListener("pointerdown", () => { this.held = true; });
    for (const end of ["pointerup", "pointercancel"]) {
      window.addEventListener(end, () => setTimeout(() => { this.held = false; }));
    }
    root.querySelector<HTMLElement>("#feeds .body")!.addEventListener("click", (e) => {
      const venue = (e.target as Element).closest<HTMLElement>("button.all")?.dataset.venue;
      if (!venue) return;
      if (this.full.delete(venue)) this.again();
      else void this.streams(venue).then(() => this.again());
    });
  }

  private last: System | null = null;

  private again(): void {
    if (this.last) this.feeds(this.last);
  }

  /** Every stream of a venue, in the collector's own words. */
  private async streams(venue: string): Promise<void> {
    try {
      const answer = await get<{ collector: { connections: { streams: Stream[] }[] } | null }>("/v1/streams", { venue });
      this.full.set(venue, answer.collector?.connections.flatMap((c) => c.streams) ?? []);
    } catch {
      this.full.delete(venue);
    }
  }

  private put(id: string, head: string, level: Level | "", body: HTMLElement[]): void {
    const panel = this.root.querySelector<HTMLElement>(`#${id}`)!;
    const output = panel.querySelector("output")!;
    output.textContent = head;
    output.className = level;
    const text = body.map((b) => b.outerHTML).join("");
    // What a reader has selected or focused stays unless it changed.
    if (this.drawn.get(id) === text || this.held) return;
    this.drawn.set(id, text);
    const focus = panel.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset.focus : undefined;
    const box = panel.querySelector<HTMLElement>(".body")!;
    const top = box.scrollTop;
    box.replaceChildren(...body);
    box.scrollTop = top;
    if (focus) box.querySelector<HTMLElement>(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
  }

  async system(s: System): Promise<void> {
    this.last = s;
    await Promise.all([...this.full.keys()].map((venue) => this.streams(venue)));
    this.feeds(s);
    this.wal(s);
    this.disk(s);
    this.memory(s);
    this.candles(s);
    document.querySelector("#version")!.textContent = `Tapedeck ${s.version}, ${s.data_dir}`;
  }

  private feeds(s: System): void {
    const body: HTMLElement[] = [];
    let well = 0;
    let worst: Level = "good";
    for (const feed of s.feeds) {
      const streams = feed.connections.reduce((n, c) => n + c.streams, 0);
      const flowing = feed.connections.reduce((n, c) => n + c.flowing, 0);
      const ages = feed.connections.flatMap((c) => (c.age_ms === null ? [] : [c.age_ms]));
      const candle = s.candles?.feeds[feed.venue];
      const reader = s.compactor[feed.venue];
      const quiet = feed.connections.flatMap((c) => c.still).every((x) => x.why?.includes("quiet by nature"));
      const whys = [
        feed.failed, feed.no_listing && `no listing of symbols: ${feed.no_listing}`,
        ...feed.connections.map((c) => c.why && `connection ${c.slot}.${c.line} ${c.why}`),
        reader?.reason && `compactor: ${reader.reason}`,
        candle?.reason && `candles: ${candle.reason}`,
      ].filter((w): w is string => !!w);
      let level: Level = "good";
      if (!feed.answers) level = "bad";
      else if (feed.failed || (streams > 0 && flowing === 0 && !quiet)) level = "bad";
      else if (whys.length || (flowing < streams && !quiet)) level = "warn";
      if (level === "good") well++;
      if (level === "bad" || (level === "warn" && worst === "good")) worst = level;
      const d = document.createElement("details");
      d.dataset.key = feed.venue;
      d.open = this.open.has(feed.venue);
      d.ontoggle = () => { if (d.open) this.open.add(feed.venue); else this.open.delete(feed.venue); };
      const sum = el("summary", "pair");
      sum.dataset.focus = feed.venue;
      const name = el("span", "", feed.venue);
      name.prepend(dot(level));
      const newest = ages.length ? age(Math.min(...ages)) : "";
      sum.append(name, el("span", "num", feed.answers ? `${flowing}/${streams}` : "no answer"), el("span", "num age", newest));
      d.append(sum);
      if (!feed.answers) d.append(el("p", "why", "no collector answers for this venue"));
      for (const why of whys) d.append(el("p", "why", why));
      const still = feed.connections.flatMap((c) => c.still);
      const every = this.full.get(feed.venue);
      for (const x of (every ?? []).slice(0, STREAMS_MAX)) {
        const line = row(x.stream, age(x.age_ms), x.why ?? "", x.why ? (x.why.includes("quiet by nature") ? "idle" : "warn") : "good");
        line.classList.add("stream");
        d.append(line);
      }
      for (const x of every ? [] : still.slice(0, 8)) {
        const line = row(x.stream, age(x.age_ms), x.why ?? "");
        line.classList.add("still");
        d.append(line);
        if (x.why) d.append(el("p", "why", x.why));
      }
      if (!every && (still.length > 8 || streams - flowing > still.length)) {
        d.append(el("p", "why", `and ${streams - flowing - Math.min(8, still.length)} more streams do not flow`));
      }
      if (streams) {
        const button = el("button", "all", every ? "fewer" : `all ${grouped(streams)} streams`) as HTMLButtonElement;
        button.type = "button";
        button.dataset.venue = feed.venue;
        button.dataset.focus = `${feed.venue} all`;
        d.append(button);
      }
      d.append(row("connections", String(feed.connections.length)));
      if (candle) d.append(row(`candles of ${candle.source}`, candle.activity, candle.reason ?? ""));
      if (reader) {
        d.append(row("compactor", reader.activity.replaceAll("_", " "), reader.reason ?? ""));
        d.append(row("behind the log", reader.lag_ms ? age(reader.lag_ms) : "0 s"));
        d.append(row("gaps, repaired", `${grouped(reader.gaps)}, ${grouped(reader.repaired)}`));
        if (reader.undecodable) d.append(row("frames not understood", grouped(reader.undecodable)));
      }
      body.push(d);
    }
    this.put("feeds", `${well} of ${s.feeds.length} well`, worst, body);
  }

  private wal(s: System): void {
    const total = s.logs.reduce((n, l) => n + l.segment_bytes, 0);
    const waiting = s.logs.reduce((n, l) => n + (l.unacked_bytes ?? 0), 0);
    const body = [row("not yet in the lake", bytes(waiting), "Bytes that the lake has not acknowledged")];
    body.push(meter("share of the log that the lake does not have yet", [{ cls: "accent", part: total ? waiting / total : 0 }]));
    let level: Level = "good";
    const widest = Math.max(1, ...s.logs.map((l) => l.segment_bytes));
    for (const l of s.logs) {
      const line = row(l.venue, bytes(l.segment_bytes), `${l.segments} segments, ${bytes(l.unacked_bytes)} not yet in the lake`,
        l.problem ? "warn" : "good");
      line.classList.add("bar");
      const bar = el("i", "under");
      bar.style.width = `${(l.segment_bytes / widest) * 100}%`;
      line.append(bar);
      body.push(line);
      if (l.problem) {
        level = "warn";
        body.push(el("p", "why", l.problem));
      }
    }
    const published = Object.values(s.compactor).flatMap((v) => (v.last_publish ? [v.last_publish.at_ns / 1e6] : []));
    if (published.length) body.push(row("last file published", `${age(s.now - Math.max(...published))} ago`));
    this.put("wal", bytes(total), level, body);
  }

  private disk(s: System): void {
    if (!s.disk) {
      this.put("disk", "unknown", "idle", []);
      return;
    }
    const { free_bytes: free, total_bytes: total } = s.disk;
    const used = total - free;
    const log = s.logs.reduce((n, l) => n + l.segment_bytes, 0);
    const level: Level = free / total < 0.05 ? "bad" : free / total < 0.12 ? "warn" : "good";
    this.put("disk", `${bytes(free)} free`, level, [
      meter("disk used", [{ cls: "accent", part: log / total }, { cls: "soft", part: Math.max(0, used - log) / total }]),
      row("used of", `${bytes(used)} / ${bytes(total)}`),
      row("log", bytes(log)),
      ...(s.candles_bytes == null ? [] : [row("candles", bytes(s.candles_bytes))]),
    ]);
  }

  private memory(s: System): void {
    const body: HTMLElement[] = [];
    let own = 0;
    const machine = s.machine;
    for (const p of s.processes) {
      own += p.memory?.own_bytes ?? 0;
      body.push(row(p.name, bytes(p.memory?.own_bytes),
        `pid ${p.pid}: own ${bytes(p.memory?.own_bytes)}, mapped ${bytes(p.memory?.mapped_bytes)} (the log's pages; the kernel takes them back), resident ${bytes(p.memory?.resident_bytes)}`));
      if (p.memory) body.push(row("\u2003mapped log", bytes(p.memory.mapped_bytes)));
    }
    let level: Level = "good";
    if (machine) {
      const used = machine.total_bytes - machine.available_bytes;
      const share = used / machine.total_bytes;
      level = share > 0.95 ? "bad" : share > 0.85 ? "warn" : "good";
      body.unshift(
        meter("memory used", [
          { cls: "accent", part: own / machine.total_bytes },
          { cls: "soft", part: Math.max(0, used - own) / machine.total_bytes },
        ]),
      );
      body.push(row("machine", `${bytes(used)} / ${bytes(machine.total_bytes)}`));
    }
    for (const report of s.memory) {
      if (report.level !== "normal") {
        level = report.level === "critical" ? "bad" : level === "bad" ? "bad" : "warn";
        body.push(el("p", "why", `${report.service}: memory is ${report.level}`));
      }
      for (const alarm of report.alarms) body.push(el("p", "why", alarm));
    }
    this.put("memory", bytes(own), level, body);
  }

  private candles(s: System): void {
    const c = s.candles;
    if (!c) {
      this.put("candles", "none", "idle", [el("p", "why", "no configured venue has a source of candles")]);
      return;
    }
    const stored = Object.values(c.feeds).map((f) => f.committed_ns).filter((ns) => ns > 0);
    this.put("candles", grouped(c.ticks), "", [
      row("trades", grouped(c.ticks)),
      row("bars closed, revised", `${grouped(c.closed)}, ${grouped(c.revised)}`),
      row("waiting jobs", grouped(c.queued)),
      ...(stored.length ? [row("last stored", `${age(s.now - Math.max(...stored) / 1e6)} ago`)] : []),
      row("clients", grouped(s.clients)),
    ]);
  }

  /** The marked bars of the chart's series, newest first. */
  async gaps(venue: string, symbol: string, interval: string): Promise<void> {
    const limit = 500;
    let bars: Bar[];
    try {
      bars = await get<Bar[]>("/v1/gaps", { venue, symbol, interval, limit });
    } catch {
      return;
    }
    const body: HTMLElement[] = bars.slice(-40).reverse().map((b) => {
      const button = el("button", "pair link") as HTMLButtonElement;
      button.type = "button";
      button.append(el("span", "num", when(b.open_time, interval !== "1d" && interval !== "1w")), el("span", "num", `${grouped(b.trades)} trades`));
      button.dataset.time = String(b.open_time);
      button.dataset.focus = String(b.open_time);
      button.title = "Show this bar";
      return button;
    });
    if (!bars.length) body.push(el("p", "why", `no ${interval} bar of ${symbol} has trades missing`));
    this.put("gaps", bars.length >= limit ? `${limit}+` : String(bars.length), bars.length ? "warn" : "good", body);
    const box = this.root.querySelector<HTMLElement>("#gaps .body")!;
    box.onclick = (e) => {
      const at = (e.target as Element).closest<HTMLElement>("button")?.dataset.time;
      if (at) this.goTo(Number(at));
    };
  }

  /** Nothing was heard: what is shown is old. */
  silent(): void {
    for (const o of this.root.querySelectorAll("output")) o.className = "idle";
  }
}
