// Values as the JSON that the server speaks (python/jetstream/_json.py), and back.
import { formatIp, parseIp } from "./addresses.ts";
import { DecodeError } from "./errors.ts";
import type { Layout } from "./plan.ts";

const isText = (p: Layout): boolean =>
  p.k === "lazy" ? isText(p.get()) : p.k === "str" || p.k === "url";

/** What `JSON.stringify` takes for a value, which was checked. */
export function toJson(p: Layout, value: unknown): unknown {
  switch (p.k) {
    case "lazy":
      return toJson(p.get(), value);
    case "unit":
      return null;
    case "int":
      // What JavaScript cannot count to goes as a string.
      return typeof value === "bigint" ? String(value) : value;
    case "f32":
    case "f64":
      return Number.isFinite(value) ? value : String(value);
    case "data": {
      let text = "";
      for (const byte of value as Uint8Array) text += String.fromCharCode(byte);
      return btoa(text);
    }
    case "time":
      return (value as Date).toISOString();
    case "addr": {
      const { ip, port } = value as { ip: string; port: number };
      return `${ip.includes(":") ? `[${ip}]` : ip}:${port}`;
    }
    case "list":
    case "set":
      return Array.from(value as Iterable<unknown>, (item) => toJson(p.of, item));
    case "tuple":
      return p.of.map((each, at) => toJson(each, (value as unknown[])[at]));
    case "map": {
      const pairs = Array.from(value as Map<unknown, unknown>, ([key, item]): [string, unknown] => [
        toJson(p.key, key) as string,
        toJson(p.of, item),
      ]);
      return isText(p.key) ? Object.fromEntries(pairs) : pairs;
    }
    case "option":
      if (value == null) return null;
      return p.some
        ? { some: toJson(p.of, (value as { some: unknown }).some) }
        : toJson(p.of, value);
    case "struct": {
      const fields = value as Record<string, unknown>;
      return Object.fromEntries(p.of.map(([name, each]) => [name, toJson(each, fields[name])]));
    }
    case "enum":
      return p.names[p.values.indexOf(value)];
    case "union": {
      const [[name, inner]] = Object.entries(value as object) as [[string, unknown]];
      return { [name]: toJson(p.of.find(([each]) => each === name)![1], inner) };
    }
    default:
      return value;
  }
}

/** Parses JSON whose integers may be longer than JavaScript counts: those stay text. */
export function parseJson(text: string): unknown {
  const tokens = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  return JSON.parse(
    text.replace(tokens, (each) => (/^-?\d{16,}$/.test(each) ? `"${each}"` : each)),
  );
}

/** The value that a piece of JSON stands for. What the wire bounds is not looked at. */
export function fromJson(p: Layout, found: unknown, path: string): unknown {
  const wrong = (wanted: string): never => {
    throw new DecodeError(
      path,
      0,
      `${wanted} is due, not ${String(JSON.stringify(found)).slice(0, 60)}`,
    );
  };
  const text = (): string => (typeof found === "string" ? found : wanted("a string"));
  const array = (): unknown[] => (Array.isArray(found) ? found : wanted("an array"));
  const object = (): Record<string, unknown> =>
    typeof found === "object" && found && !Array.isArray(found)
      ? (found as Record<string, unknown>)
      : wanted("an object");
  const wanted = wrong;
  switch (p.k) {
    case "lazy":
      return fromJson(p.get(), found, path);
    case "unit":
      return found === null ? undefined : wrong("null");
    case "bool":
      return typeof found === "boolean" ? found : wrong("true or false");
    case "int":
      if (p.bits > 32 && /^-?\d{1,40}$/.test(String(found))) return BigInt(found as string);
      return Number.isInteger(found) && p.bits <= 32 ? found : wrong("a whole number");
    case "f32":
    case "f64":
      if (typeof found === "number") return found;
      return /^(NaN|-?Infinity|-?\d{16,})$/.test(text()) ? Number(found) : wrong("a number");
    case "str":
    case "url":
      return text();
    case "data":
      try {
        return Uint8Array.from(atob(text()), (each) => each.charCodeAt(0));
      } catch {
        return wrong("bytes in base64");
      }
    case "time": {
      const time = new Date(text());
      return Number.isNaN(time.getTime()) ? wrong("a time") : time;
    }
    case "ip4":
    case "ip6":
    case "ip": {
      const bytes = parseIp(text());
      return bytes ? formatIp(bytes) : wrong("an IP address");
    }
    case "addr": {
      const [, ip, port] = /^\[?([^\]]+?)\]?:(\d+)$/.exec(text()) ?? wrong("an address");
      return { ip: fromJson({ k: "ip" }, ip, path), port: Number(port) };
    }
    case "list":
      return array().map((each, at) => fromJson(p.of, each, `${path}[${at}]`));
    case "set":
      return new Set(array().map((each, at) => fromJson(p.of, each, `${path}[${at}]`)));
    case "tuple":
      if (array().length !== p.of.length) wrong(`an array of ${p.of.length}`);
      return p.of.map((each, at) => fromJson(each, array()[at], `${path}[${at}]`));
    case "map": {
      const pairs = isText(p.key) ? Object.entries(object()) : (array() as [unknown, unknown][]);
      return new Map(
        pairs.map(([key, item]) => [
          fromJson(p.key, key, `${path}.key`),
          fromJson(p.of, item, `${path}[${String(key)}]`),
        ]),
      );
    }
    case "option":
      if (found === null) return null;
      return p.some
        ? { some: fromJson(p.of, object()["some"], path) }
        : fromJson(p.of, found, path);
    case "struct": {
      const fields = object();
      return Object.fromEntries(
        p.of.map(([name, each]) => [name, fromJson(each, fields[name], `${path}.${name}`)]),
      );
    }
    case "enum": {
      const at = p.names.indexOf(text());
      return at < 0 ? wrong(`one of ${p.names.join(", ")}`) : p.values[at];
    }
    case "union": {
      const [name, inner] = Object.entries(object())[0] ?? [];
      const variant = p.of.find(([each]) => each === name) ?? wrong("a variant");
      return { [variant[0]]: fromJson(variant[1], inner, `${path}.${variant[0]}`) };
    }
  }
}
