// One socket of `/v1/stream`: a snapshot, then numbered changes. A number that does not follow the one before, or a
// connection that is gone, means starting again with a new snapshot.

import { socketUrl, type Bar } from "./api";

interface Message {
  type?: "snapshot" | "delta";
  e?: string;
  reason?: string;
  previous?: number;
  sequence: number;
  skipped?: boolean;
  klines: Bar[];
}

export interface Listener {
  snapshot(bars: Bar[]): void;
  delta(bars: Bar[], skipped: boolean): void;
  /** Called with the time of the next attempt when the connection is gone, with null when it is back. */
  lost(retryAt: number | null, why: string): void;
}

const FIRST_MS = 400;
const LAST_MS = 8_000;

export class Live {
  private socket: WebSocket | null = null;
  private timer = 0;
  private failures = 0;
  private sequence = 0;
  private over = false;
  /** The snapshot of this connection was heard. */
  private whole = false;
  private why = "";

  constructor(private readonly query: Record<string, string | number>, private readonly to: Listener) {
    this.open();
  }

  /** True while changes arrive without a gap. */
  get up(): boolean {
    return this.whole && this.socket?.readyState === WebSocket.OPEN;
  }

  /** No more. */
  close(): void {
    this.over = true;
    clearTimeout(this.timer);
    this.drop();
  }

  /** Tries now instead of later; `reconnect`: also when the connection seems to be there. */
  kick(reconnect = false): void {
    if (this.over || (this.socket?.readyState === WebSocket.OPEN && !reconnect)) return;
    clearTimeout(this.timer);
    this.drop();
    this.open();
  }

  private drop(): void {
    const socket = this.socket;
    this.socket = null;
    this.whole = false;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
    socket.close();
  }

  private open(): void {
    const socket = new WebSocket(socketUrl("/v1/stream", this.query));
    this.socket = socket;
    socket.onmessage = (event) => this.heard(JSON.parse(event.data as string) as Message);
    socket.onclose = () => this.lost();
  }

  private heard(m: Message): void {
    if (m.e === "close") {
      this.why = m.reason ?? "";
    } else if (m.type === "snapshot") {
      this.sequence = m.sequence;
      this.failures = 0;
      this.whole = true;
      this.why = "";
      this.to.snapshot(m.klines);
      this.to.lost(null, "");
    } else if (m.type === "delta") {
      if (m.previous !== this.sequence) {
        this.why = "a change was missed";
        this.drop();
        this.lost();
        return;
      }
      this.sequence = m.sequence;
      this.to.delta(m.klines, m.skipped === true);
    }
  }

  private lost(): void {
    if (this.over) return;
    this.socket = null;
    this.whole = false;
    const wait = Math.min(LAST_MS, FIRST_MS * 2 ** this.failures++) * (0.8 + 0.4 * Math.random());
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.open(), wait);
    this.to.lost(Date.now() + wait, this.why);
  }
}
