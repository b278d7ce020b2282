// Values as the JSON that the server speaks (python/jetstream/_json.py), and back.
import { formatIp, parseIp } from "./addresses.ts";
import { DecodeError } from "./errors.ts";
import { ip as anyIp, socketAddress, type Layout } from "./plan.ts";

const isText = (p: Layout): boolean => (p.k === "lazy" ? isText(p.get$()) : p.k === "str");

/** An address and a port, which is text in JSON. */
const isSocket = (p: Layout): boolean => p === socketAddress.$;

/** What `JSON.stringify` takes for a value, which was checked. */
export function toJson(p: Layout, value: unknown): unknown {
  switch (p.k) {
    case "lazy":
      return toJson(p.get$(), value);
    case "unit":
      return null;
    case "int":
      // What JavaScript cannot count to goes as a string.
      return typeof value === "bigint" ? String(value) : value;
    case "float":
      return Number.isFinite(value) ? value : String(value);
    case "data": {
      let text = "";
      for (const byte of value as Uint8Array) text += String.fromCharCode(byte);
      return btoa(text);
    }
    case "time":
      return (value as Date).toISOString();
    case "list":
      return Array.from(value as Iterable<unknown>, (item) => toJson(p.of, item));
    case "tuple":
      return p.of.map(([at, each]) => toJson(each, (value as unknown[])[at as number]));
    case "map": {
      const { of } = p;
      if (!of) return Array.from(value as Set<unknown>, (item) => toJson(p.key, item));
      const pairs = Array.from(value as Map<unknown, unknown>, ([key, item]): [string, unknown] => [
        toJson(p.key, key) as string,
        toJson(of, item),
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
      if (isSocket(p)) {
        const ip = fields["ip"] as string;
        return `${ip.includes(":") ? `[${ip}]` : ip}:${fields["port"]}`;
      }
      return Object.fromEntries(p.of.map(([name, each]) => [name, toJson(each, fields[name])]));
    }
    case "enum":
      return p.names[p.of.indexOf(value)];
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
      return fromJson(p.get$(), found, path);
    case "unit":
      return found === null ? undefined : wrong("null");
    case "bool":
      return typeof found === "boolean" ? found : wrong("true or false");
    case "int":
      if (p.bits > 32 && /^-?\d{1,40}$/.test(String(found))) return BigInt(found as string);
      return Number.isInteger(found) && p.bits <= 32 ? found : wrong("a whole number");
    case "float":
      if (typeof found === "number") return found;
      return /^(NaN|-?Infinity|-?\d{16,})$/.test(text()) ? Number(found) : wrong("a number");
    case "str":
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
    case "ip": {
      const bytes = parseIp(text());
      return bytes ? formatIp(bytes) : wrong("an IP address");
    }
    case "list":
      return array().map((each, at) => fromJson(p.of, each, `${path}[${at}]`));
    case "tuple":
      if (array().length !== p.of.length) wrong(`an array of ${p.of.length}`);
      return p.of.map(([, each], at) => fromJson(each, array()[at], `${path}[${at}]`));
    case "map": {
      const { key, of } = p;
      if (!of) return new Set(array().map((each, at) => fromJson(key, each, `${path}[${at}]`)));
      const pairs = isText(key) ? Object.entries(object()) : (array() as [unknown, unknown][]);
      return new Map(
        pairs.map(([name, item]) => [
          fromJson(key, name, `${path}.key`),
          fromJson(of, item, `${path}[${String(name)}]`),
        ]),
      );
    }
    case "option":
      if (found === null) return null;
      return p.some
        ? { some: fromJson(p.of, object()["some"], path) }
        : fromJson(p.of, found, path);
    case "struct": {
      if (isSocket(p)) {
        const [, ip, port] = /^\[?([^\]]+?)\]?:(\d+)$/.exec(text()) ?? wrong("an address");
        return { ip: fromJson(anyIp.$, ip, path), port: Number(port) };
      }
      const fields = object();
      return Object.fromEntries(
        p.of.map(([name, each]) => [name, fromJson(each, fields[name], `${path}.${name}`)]),
      );
    }
    case "enum": {
      const at = p.names.indexOf(text());
      return at < 0 ? wrong(`one of ${p.names.join(", ")}`) : p.of[at];
    }
    case "union": {
      const [name, inner] = Object.entries(object())[0] ?? [];
      const variant = p.of.find(([each]) => each === name) ?? wrong("a variant");
      return { [variant[0]]: fromJson(variant[1], inner, `${path}.${variant[0]}`) };
    }
  }
}
