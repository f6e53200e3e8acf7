// The symbols of all venues with their prices. Rows are made once and changed in place, at most once per frame.

import type { Bar, Listed } from "./api";
import { change, direction, fit, places } from "./text";

export interface Row {
  venue: string;
  symbol: string;
  /** Digits behind the point that the symbol's price step has. */
  places: number;
  day: Bar | null;
  el: HTMLElement;
  price: HTMLElement;
  moved: HTMLElement;
  /** Shown last. */
  shown: string;
  words: string;
}

export const keyOf = (venue: string, symbol: string): string => `${venue}/${symbol}`;

export class List {
  readonly rows = new Map<string, Row>();
  private order: Row[] = [];
  private visible: Row[] = [];
  private active: Row | null = null;
  private readonly dirty = new Set<Row>();
  private frame = 0;
  private timer = 0;
  private heads = new Map<string, HTMLElement>();

  constructor(
    private readonly box: HTMLElement,
    private readonly filter: HTMLInputElement,
    private readonly foot: HTMLElement,
    private readonly select: (row: Row) => void,
  ) {
    filter.addEventListener("input", () => this.apply());
    filter.addEventListener("keydown", (e) => this.key(e));
    box.addEventListener("keydown", (e) => this.key(e));
    box.addEventListener("click", (e) => {
      const row = this.rows.get((e.target as Element).closest<HTMLElement>(".row")?.dataset.key ?? "");
      if (row) this.pick(row, true);
    });
  }

  /** The symbols as the server lists them; known ones keep their row. */
  symbols(all: Listed[]): void {
    for (const s of all) {
      const key = keyOf(s.venue, s.symbol);
      const step = s.listing?.tick_size;
      const known = this.rows.get(key);
      if (known) {
        if (step) known.places = places(step);
        continue;
      }
      const el = document.createElement("div");
      el.className = "row";
      el.id = `row-${this.rows.size}`;
      el.dataset.key = key;
      el.setAttribute("role", "option");
      el.setAttribute("aria-selected", "false");
      const [name, price, moved] = ["name", "num", "num moved"].map((c) => {
        const span = document.createElement("span");
        span.className = c;
        el.append(span);
        return span;
      }) as [HTMLElement, HTMLElement, HTMLElement];
      name.textContent = s.symbol;
      if (s.listing && !s.listing.trading) el.classList.add("gone");
      price.textContent = "\u2013";
      this.rows.set(key, {
        venue: s.venue, symbol: s.symbol, places: step ? places(step) : 0, day: null, el, price, moved, shown: "",
        words: `${s.symbol} ${s.venue} ${s.listing?.base ?? ""} ${s.listing?.kind ?? ""}`.toLowerCase(),
      });
    }
    this.order = [...this.rows.values()].sort((a, b) =>
      a.venue.localeCompare(b.venue) || a.symbol.localeCompare(b.symbol));
    this.apply();
  }

  /** Newest states of bars of a day; true when one belongs to no row. */
  days(bars: Bar[]): boolean {
    let unknown = false;
    for (const bar of bars) {
      const row = this.rows.get(keyOf(bar.venue, bar.symbol));
      if (!row) {
        unknown = true;
      } else if (!row.day || bar.open_time >= row.day.open_time) {
        row.day = bar;
        this.dirty.add(row);
      }
    }
    if (this.dirty.size && !this.frame) this.frame = requestAnimationFrame(() => this.paint());
    return unknown;
  }

  private paint(): void {
    this.frame = 0;
    for (const row of this.dirty) {
      const day = row.day!;
      const price = fit(day.close, row.places);
      if (price !== row.shown) {
        const way = row.shown ? direction(row.shown, price) : 0;
        row.price.textContent = price;
        row.shown = price;
        if (way) {
          row.price.classList.remove("up", "down");
          // The style starts over only when the class was seen to be gone.
          void row.price.offsetWidth;
          row.price.classList.add(way > 0 ? "up" : "down");
        }
      }
      const moved = change(day.open, day.close);
      if (row.moved.textContent !== moved) {
        row.moved.textContent = moved;
        // What rounds to nothing has no colour either.
        const way = /[1-9]/.test(moved) ? direction(day.open, day.close) : 0;
        row.moved.classList.toggle("rise", way > 0);
        row.moved.classList.toggle("fall", way < 0);
      }
    }
    this.dirty.clear();
  }

  private apply(): void {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.visible = this.order.filter((r) => words.every((w) => r.words.includes(w)));
    const parts: HTMLElement[] = [];
    let venue = "";
    for (const row of this.visible) {
      if (row.venue !== venue) {
        venue = row.venue;
        let head = this.heads.get(venue);
        if (!head) {
          head = document.createElement("div");
          head.className = "venue";
          head.setAttribute("role", "presentation");
          const name = document.createElement("span");
          name.textContent = venue;
          head.append(name, document.createElement("small"));
          this.heads.set(venue, head);
        }
        head.lastElementChild!.textContent = String(this.visible.filter((r) => r.venue === row.venue).length);
        parts.push(head);
      }
      parts.push(row.el);
    }
    this.box.replaceChildren(...parts);
    const all = this.order.length;
    this.foot.textContent = words.length ? `${this.visible.length} of ${all} symbols` : `${all} symbols`;
    if (words.length && !this.visible.length) this.foot.textContent = `no symbol has "${this.filter.value.trim()}" in it`;
  }

  private key(e: KeyboardEvent): void {
    const inFilter = e.currentTarget === this.filter;
    const at = this.active ? this.visible.indexOf(this.active) : -1;
    const page = Math.max(1, Math.floor(this.box.clientHeight / 26) - 1);
    const to: Record<string, number> = {
      ArrowDown: at + 1, ArrowUp: at < 0 ? 0 : at - 1, PageDown: at + page, PageUp: at - page,
      ...(inFilter ? {} : { Home: 0, End: this.visible.length - 1 }),
    };
    const next = to[e.key];
    if (next !== undefined) {
      const row = this.visible[Math.max(0, Math.min(this.visible.length - 1, next))];
      if (row) this.pick(row, false);
    } else if (e.key === "Enter") {
      const row = this.active && this.visible.includes(this.active) ? this.active : this.visible[0];
      if (row) this.pick(row, true);
      if (inFilter) this.box.focus();
    } else if (e.key === "Escape" && inFilter) {
      if (this.filter.value) {
        this.filter.value = "";
        this.apply();
      } else {
        this.box.focus();
      }
    } else {
      return;
    }
    e.preventDefault();
    e.stopPropagation();
  }

  /** Marks a row; its chart comes at once, or when the keys rest. */
  pick(row: Row, now: boolean): void {
    if (this.active !== row) {
      this.active?.el.setAttribute("aria-selected", "false");
      row.el.setAttribute("aria-selected", "true");
      this.box.setAttribute("aria-activedescendant", row.el.id);
      this.active = row;
    }
    row.el.scrollIntoView({ block: "nearest" });
    clearTimeout(this.timer);
    if (now) this.select(row);
    else this.timer = window.setTimeout(() => this.select(row), 140);
  }
}
