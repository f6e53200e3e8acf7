// The bars of one series, in order, each once, the newest state of each.

import { LENGTH, type Bar, type Interval } from "./api";

/** A gap this long is drawn with this many empty places; longer ones are cut short. */
const HOLE_MAX = 240;

/** True when `b` is the same bar in a later state, or in the same. */
function later(a: Bar, b: Bar): boolean {
  if (b.revision !== a.revision) return b.revision > a.revision;
  if (b.final !== a.final) return b.final;
  return b.trades >= a.trades || b.source !== a.source;
}

export type Place = { time: number; bar: Bar | null };

export class Bars {
  private readonly of = new Map<number, Bar>();
  private times: number[] = [];

  constructor(readonly interval: Interval) {}

  get count(): number {
    return this.times.length;
  }
  get oldest(): number | undefined {
    return this.times[0];
  }
  get newest(): number | undefined {
    return this.times[this.times.length - 1];
  }
  at(time: number): Bar | undefined {
    return this.of.get(time);
  }
  last(): Bar | undefined {
    return this.newest === undefined ? undefined : this.of.get(this.newest);
  }

  /** Takes bars in any order; returns those that changed something. */
  merge(bars: Bar[]): Bar[] {
    const changed: Bar[] = [];
    let inOrder = true;
    for (const bar of bars) {
      if (bar.interval !== this.interval) continue;
      const known = this.of.get(bar.open_time);
      if (known && !later(known, bar)) continue;
      if (!known) {
        inOrder &&= this.newest === undefined || bar.open_time > this.newest;
        this.times.push(bar.open_time);
      }
      this.of.set(bar.open_time, bar);
      changed.push(bar);
    }
    if (!inOrder) this.times.sort((a, b) => a - b);
    return changed;
  }

  /** True when a bar of this time is one of ours or the next one: drawing it needs no empty places before it. */
  follows(time: number): boolean {
    return this.of.has(time) || this.newest === undefined || time === this.newest + LENGTH[this.interval];
  }

  /** Every bar in order, with empty places where nothing was recorded. */
  places(): Place[] {
    const length = LENGTH[this.interval];
    const out: Place[] = [];
    let before: number | undefined;
    for (const time of this.times) {
      if (before !== undefined) {
        const missing = Math.min(HOLE_MAX, (time - before) / length - 1);
        for (let i = 1; i <= missing; i++) out.push({ time: before + i * length, bar: null });
      }
      out.push({ time, bar: this.of.get(time)! });
      before = time;
    }
    return out;
  }

  /** Those that were revised or began with the venue's own candle. */
  marked(): Bar[] {
    return this.times.map((t) => this.of.get(t)!).filter((b) => b.revision > 0 || b.seeded);
  }
}
