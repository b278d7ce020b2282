// Which service a lane is for, and whether two ends may talk: `Tversion` and `Rversion`.
import { Reader, type Writer } from "./bytes.ts";

const PREFIX = "rs.jetstream.proto/";
/** The answer that refuses a version. */
export const UNKNOWN = "unknown";
/** What the caller appends to its version, and what the called end appends to its own. */
export const OFFER = "x1";
export const ACCEPT = "x1-on";

const FORM =
  /^rs\.jetstream\.proto\/([^/]+)\/(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-[^/+]*)?(?:\+([^/]*))?$/;

/** A name, then major, minor and patch, then build identifiers, which never decide. */
export type Version = readonly string[];

/** Reads a version string; `null` if it is none. */
export function parseVersion(text: string): Version | null {
  return (text.length <= 1024 && FORM.exec(text)?.slice(1)) || null;
}

/** Writes the version string of a service, with a mark as its last build identifier. */
export function versionOf(
  service: { readonly name: string; readonly version: string; readonly digest: string },
  mark?: string,
): string {
  const build = [service.digest, mark].filter(Boolean).join(".");
  return `${PREFIX}${service.name}/${service.version}${build && `+${build}`}`;
}

/** Whether a version carries `mark` as its last build identifier. */
export function isMarked([, , , , build]: Version, mark: string): boolean {
  return build?.split(".").at(-1) === mark;
}

/** Whether a server of version `ours` can serve a client of version `theirs`. */
export function serves(ours: Version, theirs: Version): boolean {
  const newer = (at: number): number => Number(ours[at]) - Number(theirs[at]);
  return ours[0] === theirs[0] && ours[1] === theirs[1] && (newer(2) || newer(3)) >= 0;
}

/** The payload of a version frame. */
export const putVersion =
  (msize: number, version: string) =>
  (out: Writer): void => {
    out.u32(msize);
    out.string(version);
  };

/** Reads the payload of a version frame. */
export function readVersion(payload: Uint8Array): { msize: number; version: string } {
  const r = new Reader(payload);
  const found = { msize: r.u32(), version: r.string() };
  r.end();
  return found;
}
