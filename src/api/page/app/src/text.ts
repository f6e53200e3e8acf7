// Numbers as text. Prices stay the decimal text that the API sent: digits are never rounded, only zeros at the end
// are left out or filled in.

/** Digits behind the point, zeros at the end not counted. */
export function places(text: string): number {
  const point = text.indexOf(".");
  if (point < 0) return 0;
  let end = text.length;
  while (text[end - 1] === "0") end--;
  return Math.max(0, end - point - 1);
}

/** The same number with `wanted` digits behind the point, more where it has more. */
export function fit(text: string, wanted: number): string {
  const n = Math.max(wanted, places(text));
  const [whole = "", rest = ""] = text.split(".");
  return n === 0 ? whole : `${whole}.${rest.slice(0, n).padEnd(n, "0")}`;
}

/** How far `to` is from `from`, percent with two digits; made for reading, so it may be rounded. */
export function change(from: string, to: string): string {
  const [a, b] = [Number(from), Number(to)];
  if (!(a > 0)) return "";
  const p = ((b - a) / a) * 100;
  const digits = Math.abs(p) >= 1000 ? 0 : 2;
  const text = Math.abs(p).toFixed(digits);
  return `${Number(text) === 0 ? "" : p < 0 ? "\u2212" : "+"}${text}%`;
}

/** -1, 0 or 1: the sign of the difference of two decimal texts. */
export function direction(from: string, to: string): number {
  return from === to ? 0 : Math.sign(Number(to) - Number(from));
}

/** 12345678 as 12.3 M: made for reading. */
export function short(text: string): string {
  const n = Number(text);
  for (const [unit, size] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]] as const) {
    if (Math.abs(n) >= size) return `${(n / size).toPrecision(4)} ${unit}`;
  }
  return n === 0 ? "0" : n.toPrecision(4).replace(/\.?0+$/, "");
}

/** 1234567 as 1,234,567. */
export function grouped(n: number): string {
  return n.toLocaleString("en-US");
}

/** Bytes in the unit that fits. */
export function bytes(n: number | null | undefined): string {
  if (n == null) return "\u2013";
  for (const [unit, size] of [["TiB", 2 ** 40], ["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]] as const) {
    if (n >= size) return `${(n / size).toFixed(n >= 100 * size ? 0 : 1)} ${unit}`;
  }
  return `${n} B`;
}

/** How long ago, in the unit that fits. */
export function age(ms: number | null | undefined): string {
  if (ms == null) return "never";
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

/** `2026-11-21 15:04` of UTC; the time of day only where the interval has one. */
export function when(ms: number, withTime = true): string {
  return new Date(ms).toISOString().slice(0, withTime ? 16 : 10).replace("T", " ");
}
