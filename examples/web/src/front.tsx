// The session, drawn as meteorologists draw a stationary front: triangles go to the server, half
// discs come from it, and each is a message that was sent or came just now.
import { useEffect, useRef, type ReactElement } from "react";
import { useConnectionState, type Connection } from "jetstream-client/react";
import { onTraffic, useTraffic, type Way } from "./traffic.ts";

/** Pixels in a second. */
const SPEED = 260;
/** Messages that are drawn at once; a thousand calls are not drawn one by one. */
const DRAWN = 24;

const SAID: Record<Connection["state"], string> = {
  idle: "Not connected",
  connecting: "Connecting",
  connected: "Connected",
  reconnecting: "Connection lost, trying again",
  draining: "The server is going away",
  closed: "Not connected",
};

export function Front({ name }: { readonly name: string }): ReactElement {
  const { state, error, connections, connect } = useConnectionState();
  const counts = useTraffic();
  return (
    <section className={`front ${state}`} aria-label="Connection">
      <div className="end">
        <b>This page</b>
        <span>{name}</span>
      </div>
      <Line live={state === "connected"} />
      <div className="end">
        <b>{location.hostname}</b>
        <span>port {location.port || 443}</span>
      </div>
      <div className="told">
        <p className="state" role="status">
          <span className="dot" aria-hidden="true" />
          {SAID[state]}
          {state === "connected" && connections > 1 && `, for the ${ordinal(connections)} time`}
          {error && `: ${error.message}`}
          {state === "closed" && <button onClick={connect}>Connect</button>}
        </p>
        <p className="counts">
          <span className="out">
            <Glyph way="out" /> {counts.out.toLocaleString("en")} sent
          </span>
          <span className="in">
            <Glyph way="in" /> {counts.in.toLocaleString("en")} received
          </span>
        </p>
      </div>
    </section>
  );
}

function Line({ live }: { readonly live: boolean }): ReactElement {
  const line = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    return onTraffic((way) => {
      const here = line.current;
      if (!here || still.matches || document.hidden || here.childElementCount >= DRAWN) return;
      travel(here, way);
    });
  }, []);
  return <div ref={line} className={live ? "line live" : "line"} aria-hidden="true" />;
}

const SVG = "http://www.w3.org/2000/svg";
const SHAPE: Record<Way, string> = { out: "M0 12 10 0 20 12z", in: "M0 0a10 10 0 0 0 20 0z" };

/** Not by React: it lives for a moment, and nothing else depends on it. */
function travel(line: HTMLElement, way: Way): void {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", way === "out" ? "0 0 20 12" : "0 0 20 10");
  svg.setAttribute("class", way);
  const path = svg.appendChild(document.createElementNS(SVG, "path"));
  path.setAttribute("d", SHAPE[way]);
  line.append(svg);
  const distance = line.clientWidth - 20;
  const duration = (1000 * distance) / SPEED;
  const far = `translateX(${distance}px)`;
  const ways = way === "out" ? ["none", far] : [far, "none"];
  const opacity = [0, 1, 1, 0];
  const animation = svg.animate({ transform: ways }, duration);
  svg.animate({ opacity, offset: [0, 0.06, 0.94, 1] }, duration);
  animation.onfinish = () => svg.remove();
}

function Glyph({ way }: { readonly way: Way }): ReactElement {
  return (
    <svg viewBox={way === "out" ? "0 0 20 12" : "0 0 20 10"} className="glyph" aria-hidden="true">
      <path d={SHAPE[way]} />
    </svg>
  );
}

function ordinal(count: number): string {
  const rest = count % 100 > 10 && count % 100 < 14 ? 0 : count % 10;
  return `${count}${["th", "st", "nd", "rd"][rest] ?? "th"}`;
}
