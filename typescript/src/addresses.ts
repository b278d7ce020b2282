// IP addresses: text to bytes and back. URLs know how IPv6 is written (RFC 5952).

const host = (text: string): string => new URL(`http://${text}`).hostname;

/** The bytes of an address, 4 or 16; `null` if the text is none. */
export function parseIp(text: string): Uint8Array | null {
  try {
    // What else a URL takes for four numbers is not written like this.
    if (/^[\d.]+$/.test(text))
      return host(text) === text ? Uint8Array.from(text.split("."), Number) : null;
    if (!/^[\da-f:.]+$/i.test(text)) return null;
    const [head, tail = []] = host(`[${text}]`)
      .slice(1, -1)
      .split("::")
      .map((half) => half.split(":").filter(Boolean));
    const missing = Array<string>(8 - head!.length - tail.length).fill("0");
    const groups = [...head!, ...missing, ...tail].map((group) => parseInt(group, 16));
    return Uint8Array.from(groups.flatMap((group) => [group >> 8, group]));
  } catch {
    return null;
  }
}

/** An address as text. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i]! * 256 + bytes[i + 1]!).toString(16));
  return host(`[${groups.join(":")}]`).slice(1, -1);
}
