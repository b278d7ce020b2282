// Numbers by lot that are the same in every run: mulberry32.

export interface Random {
  /** A whole number below `end`. */
  int(end: number): number;
  bytes(count: number): Uint8Array;
}

export function random(seed: number): Random {
  let state = seed;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (end: number): number => Math.floor(next() * end);
  return { int, bytes: (count) => Uint8Array.from({ length: count }, () => int(256)) };
}
