// The server's answers and how to ask for them. A token, where one is needed, is requested once and kept in
// sessionStorage; nothing is ever asked of another host.

export const INTERVALS = ["1m", "5m", "30m", "1h", "4h", "1d", "1w"] as const;
export type Interval = (typeof INTERVALS)[number];

/** How long a bar is, ms. */
export const LENGTH: Record<Interval, number> = {
  "1m": 60_000, "5m": 300_000, "30m": 1_800_000, "1h": 3_600_000, "4h": 14_400_000, "1d": 86_400_000, "1w": 604_800_000,
};

/** A bar as `/v1/klines` and `/v1/stream` print it; numbers are exact decimal texts. */
export interface Bar {
  venue: string;
  symbol: string;
  interval: Interval;
  open_time: number;
  close_time: number;
  open: string;
  high: string;
  low: string;
  close: string;
  volume: string;
  quote_volume: string;
  taker_buy_volume: string;
  trades: number;
  revision: number;
  final: boolean;
  gap: boolean;
  seeded: boolean;
  flat: boolean;
  source?: string;
}

export interface Listed {
  venue: string;
  symbol: string;
  symbol_index: number;
  listing: { base: string; quote: string; kind: string; trading: boolean; status: string; tick_size: string | null } | null;
}

export interface CandleFeed {
  source: string;
  activity: string;
  reason: string | null;
  behind_bytes: number;
  committed_ns: number;
}

export interface Stream {
  stream: string;
  frames: number;
  age_ms: number | null;
  why: string | null;
}

export interface Connection {
  slot: number;
  line: number;
  state: string;
  why: string | null;
  streams: number;
  flowing: number;
  frames: number;
  age_ms: number | null;
  still: Stream[];
}

export interface System {
  now: number;
  version: string;
  data_dir: string;
  disk: { free_bytes: number; total_bytes: number } | null;
  machine: { total_bytes: number; available_bytes: number } | null;
  processes: {
    name: string;
    pid: number;
    venues: string[];
    memory: { resident_bytes: number; own_bytes: number; mapped_bytes: number } | null;
  }[];
  logs: {
    venue: string;
    collector_running: boolean;
    segments: number;
    segment_bytes: number;
    unacked_bytes: number | null;
    problem: string | null;
  }[];
  feeds: { venue: string; answers: boolean; failed: string | null; no_listing: string | null; connections: Connection[] }[];
  compactor: Record<string, {
    activity: string;
    reason: string | null;
    lag_bytes: number;
    lag_ms: number;
    gaps: number;
    repaired: number;
    undecodable: number;
    rows_total: number;
    open_hour: string | null;
    buffered_bytes: number;
    last_publish: { hour: string; rows: number; bytes: number; at_ns: number } | null;
  }>;
  candles: {
    symbols: number;
    ticks: number;
    closed: number;
    revised: number;
    refused: number;
    queued: number;
    feeds: Record<string, CandleFeed>;
  } | null;
  candles_bytes: number | null;
  memory: { service: string; level: string; alarms: string[] }[];
  clients: number;
}

/** The server said no, in its own words. */
export class Refused extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

const KEY = "tapedeck.token";
/** Nothing here takes longer unless the connection is gone. */
const LIMIT_MS = 8_000;
let asking: Promise<void> | null = null;

function token(): string | null {
  return sessionStorage.getItem(KEY);
}

/** Asks the reader for the token; everybody who waits gets the same one. */
function ask(): Promise<void> {
  asking ??= new Promise<void>((done) => {
    const box = document.querySelector<HTMLDialogElement>("#ask")!;
    const input = document.querySelector<HTMLInputElement>("#ask-token")!;
    const go = () => {
      if (!input.value.trim()) return;
      sessionStorage.setItem(KEY, input.value.trim());
      input.value = "";
      box.close();
      asking = null;
      done();
    };
    document.querySelector<HTMLButtonElement>("#ask-go")!.onclick = go;
    input.onkeydown = (e) => { if (e.key === "Enter") go(); };
    box.oncancel = (e) => e.preventDefault();
    box.showModal();
  });
  return asking;
}

/** An answer as JSON. */
export async function get<T>(path: string, query: Record<string, string | number> = {}): Promise<T> {
  const text = new URLSearchParams(Object.entries(query).map(([k, v]) => [k, String(v)])).toString();
  for (;;) {
    const shown = token();
    const answer = await fetch(text ? `${path}?${text}` : path, {
      headers: shown ? { authorization: `Bearer ${shown}` } : {},
      signal: AbortSignal.timeout(LIMIT_MS),
    });
    if (answer.status === 401) {
      // Another one may have been given meanwhile.
      if (token() === shown) {
        sessionStorage.removeItem(KEY);
        await ask();
      }
      continue;
    }
    if (!answer.ok) {
      const body = await answer.json().catch(() => null) as { msg?: string } | null;
      throw new Refused(answer.status, body?.msg ?? `HTTP status ${answer.status}`);
    }
    return await answer.json() as T;
  }
}

/** The address of a socket. */
export function socketUrl(path: string, query: Record<string, string | number>): string {
  const q = new URLSearchParams(Object.entries(query).map(([k, v]) => [k, String(v)]));
  const shown = token();
  if (shown) q.set("token", shown);
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}?${q}`;
}
