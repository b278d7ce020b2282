// IP addresses: text to bytes and back.

/** The bytes of an address, 4 or 16; `null` if the text is none. */
export function parseIp(text: string): Uint8Array | null {
  return text.includes(":") ? parseIp6(text) : parseIp4(text);
}

function parseIp4(text: string): Uint8Array | null {
  const parts = text.split(".");
  const fits = (part: string): boolean => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256;
  return parts.length === 4 && parts.every(fits) ? Uint8Array.from(parts, Number) : null;
}

function parseIp6(text: string): Uint8Array | null {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const read = (half: string, last: boolean): number[] | null => {
    const groups: number[] = [];
    const parts = half ? half.split(":") : [];
    for (const [at, part] of parts.entries()) {
      const ip4 = last && at === parts.length - 1 && part.includes(".") ? parseIp4(part) : null;
      if (ip4) groups.push(ip4[0]! * 256 + ip4[1]!, ip4[2]! * 256 + ip4[3]!);
      else if (/^[\da-f]{1,4}$/i.test(part)) groups.push(parseInt(part, 16));
      else return null;
    }
    return groups;
  };
  const head = read(halves[0]!, halves.length === 1);
  const tail = halves.length > 1 ? read(halves[1]!, true) : [];
  if (!head || !tail) return null;
  const missing = 8 - head.length - tail.length;
  // "::" stands for one group at least, and nothing for none.
  if (halves.length > 1 ? missing < 1 : missing) return null;
  const groups = [...head, ...Array<number>(missing).fill(0), ...tail];
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255]));
}

/** An address as text: IPv6 as RFC 5952 has it. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i]! * 256 + bytes[i + 1]!).toString(16));
  // The first of the longest runs of zeros, if it has two at least.
  let [from, most] = [0, 1];
  for (let i = 0, run = 0; i < 8; i++) {
    run = groups[i] === "0" ? run + 1 : 0;
    if (run > most) [from, most] = [i - run + 1, run];
  }
  if (most < 2) return groups.join(":");
  return `${groups.slice(0, from).join(":")}::${groups.slice(from + most).join(":")}`;
}
