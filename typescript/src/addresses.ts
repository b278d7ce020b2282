// IP addresses: text to bytes and back. URLs know how IPv6 is written (RFC 5952).

const canonical = (text: string): string => new URL(`http://[${text}]`).hostname.slice(1, -1);

/** The bytes of an address, 4 or 16; `null` if the text is none. */
export function parseIp(text: string): Uint8Array | null {
  if (!text.includes(":")) {
    const bytes = text.split(".").map(Number);
    // Whatever else is read as four numbers is not written like this.
    return bytes.length === 4 && String(Uint8Array.from(bytes)).replaceAll(",", ".") === text
      ? Uint8Array.from(bytes)
      : null;
  }
  try {
    if (!/^[\da-f:.]+$/i.test(text)) return null;
    const [head, tail] = canonical(text)
      .split("::")
      .map((half) => (half ? half.split(":") : []));
    const missing = Array<string>(8 - head!.length - (tail?.length ?? 0)).fill("0");
    const groups = [...head!, ...missing, ...(tail ?? [])].map((group) => parseInt(group, 16));
    return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255]));
  } catch {
    return null;
  }
}

/** An address as text. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i]! * 256 + bytes[i + 1]!).toString(16));
  return canonical(groups.join(":"));
}
