// The chart of one series: the newest bars at first, older ones as one scrolls back, changes in place. Every bar's
// marks are drawn; its numbers are printed as the API sent them.

import {
  CandlestickSeries, ColorType, CrosshairMode, HistogramSeries, createChart, createSeriesMarkers,
  type IChartApi, type ISeriesApi, type ISeriesMarkersPluginApi, type MouseEventParams, type SeriesMarker, type Time,
  type UTCTimestamp,
} from "lightweight-charts";

import { Refused, get, type Bar, type Interval } from "./api";
import { Bars, type Place } from "./bars";
import { Live } from "./live";
import { change, direction, fit, grouped, places, short, when } from "./text";
import { colour, onTheme } from "./theme";

const FIRST = 500;
const PAGE = 1_000;
/** Older bars are asked for when fewer than this are left of the window. */
const AHEAD = 80;
/** Changes of more bars than this are drawn as a whole. */
const SINGLE_MAX = 40;
/** States kept per interval for the moment when history has been read. */
const FRESH_MAX = 4;

export interface Shown {
  venue: string;
  symbol: string;
  places: number;
}

const time = (ms: number): UTCTimestamp => (ms / 1_000) as UTCTimestamp;

export class Chart {
  private readonly chart: IChartApi;
  private readonly candles: ISeriesApi<"Candlestick">;
  private readonly volume: ISeriesApi<"Histogram">;
  private readonly bands: ISeriesApi<"Histogram">;
  private readonly marks: ISeriesMarkersPluginApi<Time>;
  private paint: Record<string, string> = {};
  private what: Shown | null = null;
  private interval: Interval = "1m";
  private bars = new Bars("1m");
  private fresh = new Map<Interval, Map<number, Bar>>();
  private live: Live | null = null;
  /** Raised with every new series: answers for another one are thrown away. */
  private turn = 0;
  private ready = false;
  private loading = false;
  private exhausted = false;
  private hover: number | null = null;
  private digits = 0;
  private last = -1;
  private retry = 0;

  constructor(
    private readonly host: HTMLElement,
    private readonly legend: HTMLElement,
    private readonly note: HTMLElement,
    private readonly newest: HTMLButtonElement,
    private readonly on: {
      lost(retryAt: number | null, why: string): void;
      series(): void;
    },
  ) {
    this.chart = createChart(host, {
      autoSize: true,
      // The style it would bring along is forbidden here; the page names it under "About".
      layout: { attributionLogo: false, fontSize: 11, panes: { enableResize: true } },
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 6, barSpacing: 7, minBarSpacing: 0.6 },
      rightPriceScale: { scaleMargins: { top: 0.12, bottom: 0.06 }, minimumWidth: 78 },
      localization: { locale: "en-GB", dateFormat: "yyyy-MM-dd" },
    });
    this.bands = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "bands", priceLineVisible: false, lastValueVisible: false, base: 0,
    });
    this.bands.priceScale().applyOptions({ scaleMargins: { top: 0, bottom: 0 }, visible: false });
    this.candles = this.chart.addSeries(CandlestickSeries, { borderVisible: true });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceFormat: { type: "volume" }, priceLineVisible: false, lastValueVisible: false,
    }, 1);
    const panes = this.chart.panes();
    panes[0]?.setStretchFactor(5);
    panes[1]?.setStretchFactor(1);
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.15, bottom: 0 } });
    this.marks = createSeriesMarkers(this.candles, []);
    this.restyle();
    onTheme(() => {
      this.restyle();
      this.draw();
    });
    this.chart.subscribeCrosshairMove((p: MouseEventParams) => {
      this.hover = typeof p.time === "number" ? p.time * 1_000 : null;
      this.notify();
    });
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (!range || !this.ready) return;
      if (range.from < AHEAD) void this.older();
      this.placed();
    });
    newest.onclick = () => this.toNewest();
    host.addEventListener("keydown", (e) => this.key(e));
  }

  /** Draws another series. */
  show(what: Shown, interval: Interval): void {
    const other = !this.what || what.venue !== this.what.venue || what.symbol !== this.what.symbol;
    if (!other && interval === this.interval && this.ready) return;
    this.what = what;
    this.interval = interval;
    this.turn++;
    this.bars = new Bars(interval);
    this.ready = this.loading = this.exhausted = false;
    this.hover = null;
    Object.assign(this.host.dataset, { symbol: what.symbol, venue: what.venue, interval, ready: "no", loading: "no" });
    if (other) {
      this.fresh.clear();
      this.live?.close();
      this.live = new Live({ venue: what.venue, symbols: what.symbol, every_ms: 100 }, {
        snapshot: (bars) => {
          this.keep(bars);
          // The first one comes while history is being read; later ones mean that the connection was lost.
          if (this.ready) void this.load(this.turn);
        },
        delta: (bars, skipped) => {
          this.keep(bars);
          if (this.ready) this.take(bars);
          if (this.ready && skipped) void this.load(this.turn);
        },
        lost: this.on.lost,
      });
    }
    void this.load(this.turn);
  }

  get series(): { what: Shown; interval: Interval } | null {
    return this.what && { what: this.what, interval: this.interval };
  }

  kick(reconnect = false): void {
    this.live?.kick(reconnect);
    if (!this.ready && this.what) void this.load(this.turn);
  }

  private keep(bars: Bar[]): void {
    for (const bar of bars) {
      let of = this.fresh.get(bar.interval);
      if (!of) this.fresh.set(bar.interval, (of = new Map()));
      of.set(bar.open_time, bar);
      if (of.size > FRESH_MAX) of.delete(Math.min(...of.keys()));
    }
  }

  private ask(more: Record<string, number>): Promise<Bar[]> {
    const { venue, symbol } = this.what!;
    return get<Bar[]>("/v1/klines", { venue, symbol, interval: this.interval, ...more });
  }

  /** Reads the newest bars: the first time, and again after a lost connection. */
  private async load(turn: number): Promise<void> {
    clearTimeout(this.retry);
    if (!this.ready) this.say("loading");
    let bars: Bar[];
    try {
      bars = await this.ask({ limit: FIRST });
    } catch (why) {
      if (turn !== this.turn) return;
      if (!this.ready) this.say(why instanceof Refused ? why.message : "the server does not answer");
      if (!(why instanceof Refused)) this.on.lost(Date.now() + 2_000, "");
      clearTimeout(this.retry);
      this.retry = window.setTimeout(() => { if (turn === this.turn) void this.load(turn); }, 2_000);
      return;
    }
    if (turn !== this.turn) return;
    if (this.live?.up) this.on.lost(null, "");
    const first = !this.ready;
    const before = this.bars.newest;
    this.bars.merge(bars);
    const changed = this.bars.merge([...(this.fresh.get(this.interval)?.values() ?? [])]);
    this.ready = true;
    this.host.dataset.ready = "yes";
    this.say(this.bars.count ? "" : "no bar yet: the first trade makes one");
    if (first) {
      this.precision();
      this.draw();
      this.toStart();
      this.on.series();
    } else if (before !== this.bars.newest || changed.length || bars.length) {
      this.draw();
    }
    this.notify();
    this.placed();
  }

  /** Older bars, before the oldest known. */
  private async older(limit = PAGE): Promise<void> {
    const oldest = this.bars.oldest;
    if (this.loading || this.exhausted || oldest === undefined) return;
    this.loading = true;
    this.host.dataset.loading = "yes";
    const turn = this.turn;
    try {
      const bars = await this.ask({ end: oldest - 1, limit });
      if (turn !== this.turn) return;
      this.exhausted = bars.length === 0;
      if (bars.length) {
        this.bars.merge(bars);
        this.draw();
      }
    } catch {
      // The next move of the chart asks again.
    } finally {
      if (turn === this.turn) {
        this.loading = false;
        this.host.dataset.loading = "no";
        this.placed();
      }
    }
  }

  /** Goes to a time, reading history as far as needed. */
  async goTo(ms: number): Promise<void> {
    const turn = this.turn;
    for (let pages = 0; pages < 40 && turn === this.turn && !this.exhausted && ms < (this.bars.oldest ?? 0); pages++) {
      await this.older(5_000);
    }
    if (turn !== this.turn) return;
    const at = this.bars.places().findIndex((p) => p.time >= ms);
    if (at < 0) return;
    const range = this.chart.timeScale().getVisibleLogicalRange();
    const width = range ? range.to - range.from : 100;
    this.chart.timeScale().setVisibleLogicalRange({ from: at - width / 2, to: at + width / 2 });
    this.host.focus();
  }

  private take(bars: Bar[]): void {
    const last = this.bars.newest;
    const whole = bars.some((b) => b.interval === this.interval && !this.bars.follows(b.open_time));
    const changed = this.bars.merge(bars);
    if (!changed.length) return;
    if (last === undefined || whole || changed.length > SINGLE_MAX) {
      if (last === undefined) {
        this.say("");
        this.precision();
      }
      this.draw();
    } else {
      changed.sort((a, b) => a.open_time - b.open_time);
      for (const bar of changed) {
        const past = bar.open_time < (this.bars.newest ?? 0) && bar.open_time <= this.last;
        this.candles.update(this.candle(bar), past);
        this.volume.update(this.histogram(bar), past);
        this.bands.update(this.band({ time: bar.open_time, bar }), past);
        this.last = Math.max(this.last, bar.open_time);
      }
      if (changed.some((b) => b.revision > 0 || b.seeded)) this.mark();
    }
    this.host.dataset.changes = String(Number(this.host.dataset.changes ?? 0) + changed.length);
    this.notify();
    this.placed();
  }

  /** Draws everything again; the place in time stays. */
  private draw(): void {
    const all = this.bars.places();
    this.last = this.bars.newest ?? -1;
    this.candles.setData(all.map((p) => (p.bar ? this.candle(p.bar) : { time: time(p.time) })));
    this.volume.setData(all.map((p) => (p.bar ? this.histogram(p.bar) : { time: time(p.time) })));
    this.bands.setData(all.map((p) => this.band(p)));
    this.mark();
  }

  private candle(bar: Bar) {
    const own = bar.flat ? this.paint.flat : bar.gap ? this.paint.gap : undefined;
    return {
      time: time(bar.open_time),
      open: Number(bar.open), high: Number(bar.high), low: Number(bar.low), close: Number(bar.close),
      ...(own ? { borderColor: own, wickColor: own } : {}),
    };
  }

  private histogram(bar: Bar) {
    const rise = direction(bar.open, bar.close) >= 0;
    return {
      time: time(bar.open_time),
      value: Number(bar.volume),
      color: rise ? this.paint["up-soft"] : this.paint["down-soft"],
    };
  }

  private band(p: Place) {
    if (p.bar && !p.bar.gap) return { time: time(p.time) };
    return { time: time(p.time), value: 1, color: p.bar ? this.paint["gap-soft"] : this.paint["absent-soft"] };
  }

  private mark(): void {
    const marks = this.bars.marked().map((b): SeriesMarker<Time> => b.revision > 0
      ? { time: time(b.open_time), position: "aboveBar", shape: "circle", color: this.paint.revised ?? "", size: 0.5 }
      : { time: time(b.open_time), position: "belowBar", shape: "square", color: this.paint.seeded ?? "", size: 0.5 });
    this.marks.setMarkers(marks);
  }

  /** The price step decides the digits of the scale; without one the digits of the prices do. */
  private precision(): void {
    const bar = this.bars.last();
    this.digits = this.what?.places || (bar ? Math.max(places(bar.open), places(bar.close), places(bar.high)) : 2);
    const precision = Math.min(12, this.digits);
    this.candles.applyOptions({ priceFormat: { type: "price", precision, minMove: 10 ** -precision } });
  }

  private restyle(): void {
    const names = ["bg", "text", "dim", "line", "grid", "up", "down", "up-soft", "down-soft", "flat", "gap", "gap-soft",
      "absent-soft", "revised", "seeded", "accent", "raised"];
    this.paint = Object.fromEntries(names.map((n) => [n, colour(n)]));
    const p = this.paint as Record<string, string>;
    const font = getComputedStyle(this.host).fontFamily;
    this.chart.applyOptions({
      layout: {
        background: { type: ColorType.Solid, color: p.bg! }, textColor: p.dim!, fontFamily: font,
        panes: { separatorColor: p.line!, separatorHoverColor: p.grid! },
      },
      grid: { vertLines: { color: p.grid! }, horzLines: { color: p.grid! } },
      timeScale: { borderColor: p.line! },
      rightPriceScale: { borderColor: p.line! },
      crosshair: {
        vertLine: { color: p.dim!, labelBackgroundColor: p.raised! },
        horzLine: { color: p.dim!, labelBackgroundColor: p.raised! },
      },
    });
    this.candles.applyOptions({
      upColor: p.up!, downColor: p.down!, borderUpColor: p.up!, borderDownColor: p.down!, wickUpColor: p.up!,
      wickDownColor: p.down!,
    });
  }

  private toStart(): void {
    const n = this.bars.places().length;
    const width = this.host.clientWidth;
    const fits = Math.max(30, Math.min(150, Math.floor(width / 7)));
    // A few bars alone keep their usual width, at the right.
    this.chart.timeScale().applyOptions({ barSpacing: 7 });
    this.chart.timeScale().setVisibleLogicalRange({ from: n - fits, to: n + 5 });
  }

  toNewest(): void {
    // Not animated: changes that come meanwhile would stop it on its way.
    this.chart.timeScale().scrollToPosition(6, false);
  }

  private say(text: string): void {
    this.note.textContent = text;
    this.note.hidden = !text;
  }

  /** The numbers of the bar below the pointer, or of the newest. */
  private notify(): void {
    const bar = (this.hover !== null && this.bars.at(this.hover)) || this.bars.last();
    if (!bar) {
      this.legend.replaceChildren();
      return;
    }
    const parts: HTMLElement[] = [];
    const add = (label: string, text: string, cls = "") => {
      const el = document.createElement("span");
      const b = document.createElement("b");
      b.textContent = label;
      el.append(b, text);
      el.className = cls;
      parts.push(el);
    };
    const digits = Math.max(this.digits, ...[bar.open, bar.high, bar.low, bar.close].map(places));
    const price = (text: string) => fit(text, digits);
    const way = direction(bar.open, bar.close);
    const cls = way > 0 ? "rise" : way < 0 ? "fall" : "";
    add("", when(bar.open_time, this.interval !== "1d" && this.interval !== "1w"), "at");
    add("O", price(bar.open), cls);
    add("H", price(bar.high), cls);
    add("L", price(bar.low), cls);
    add("C", price(bar.close), cls);
    add("", change(bar.open, bar.close), cls);
    add("V", short(bar.volume));
    add("n", grouped(bar.trades));
    if (bar.gap) add("", "trades missing", "tag gap");
    if (bar.flat) add("", "no trade", "tag");
    if (bar.revision > 0) add("", bar.revision === 1 ? "revised once" : `revised ${bar.revision} times`, "tag revised");
    if (bar.seeded) add("", "seeded", "tag seeded");
    if (bar.source && bar.source !== "live") add("", bar.source, "tag");
    if (!bar.final) add("", "open", "tag");
    this.legend.replaceChildren(...parts);
  }

  /** What is shown, as attributes: for assistive tools, scripts and tests. */
  private placed(): void {
    const data = this.host.dataset;
    const scale = this.chart.timeScale();
    const range = scale.getVisibleRange();
    data.bars = String(this.bars.count);
    data.oldest = String(this.bars.oldest ?? "");
    data.newest = String(this.bars.newest ?? "");
    data.close = this.bars.last()?.close ?? "";
    data.from = range ? String(Number(range.from) * 1_000) : "";
    data.to = range ? String(Number(range.to) * 1_000) : "";
    this.newest.hidden = scale.scrollPosition() > -3 || !this.bars.count;
  }

  private key(e: KeyboardEvent): void {
    if (e.ctrlKey || e.altKey || e.metaKey) return;
    const scale = this.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    const width = range ? range.to - range.from : 100;
    const step = e.shiftKey ? width / 2 : Math.max(1, width / 20);
    const zoom = (by: number) => range && scale.setVisibleLogicalRange({ from: range.to - width * by, to: range.to });
    switch (e.key) {
      case "ArrowLeft": scale.scrollToPosition(scale.scrollPosition() - step, false); break;
      case "ArrowRight": scale.scrollToPosition(scale.scrollPosition() + step, false); break;
      case "PageUp": scale.scrollToPosition(scale.scrollPosition() - width, false); break;
      case "PageDown": scale.scrollToPosition(scale.scrollPosition() + width, false); break;
      case "+": case "=": zoom(0.8); break;
      case "-": zoom(1.25); break;
      case "End": this.toNewest(); break;
      default: return;
    }
    e.preventDefault();
  }
}
