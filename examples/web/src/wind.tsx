// The subscription: the readings of the last minute as a curve, with wind barbs below it.
import { useEffect, useId, useRef, useState, type PointerEvent, type ReactElement } from "react";
import type { SubscriptionState } from "jetstream-client/react";
import type { Reading } from "./api/index.js";
import { Barb } from "./barb.tsx";
import { received } from "./traffic.ts";

const SPAN = 60_000;
const LEAST = 35;
const MOST = 75;
const MARKS = [40, 50, 60, 70];
const POINTS = ["N", "NE", "E", "SE", "S", "SW", "W", "NW"];

export interface WindProps {
  readonly wind: SubscriptionState<Reading, void>;
  readonly threshold: number;
  /** When the server warned of a gust. */
  readonly warned: readonly Reading[];
}

export function Wind({ wind, threshold, warned }: WindProps): ReactElement {
  const { last, items, status, error } = wind;
  useEffect(() => {
    if (last) received();
  }, [last]);
  return (
    <section className="wind" aria-labelledby="wind">
      <div className="heading">
        <h2 id="wind">You listen</h2>
        <p className="hint">
          A subscription: the last minute at once, then four readings a second.
          {status === "reconnecting" &&
            " It goes on after the last reading once the server is back."}
          {status === "failed" && ` It ended: ${error!.message}`}
          {status === "done" && " The server has ended it."}
        </p>
        <Now reading={last} />
      </div>
      <Chart readings={items} threshold={threshold} warned={warned} />
    </section>
  );
}

function Now({ reading }: { readonly reading: Reading | undefined }): ReactElement {
  return (
    <p className="now">
      <svg viewBox="-33 -24 66 48" aria-hidden="true">
        {reading && <Barb reading={reading} length={44} />}
      </svg>
      <span className="speed">{reading ? reading.speed.toFixed(1) : "––.–"}</span>
      <span className="unit">
        m/s
        <br />
        {reading ? `from ${compass(reading.direction)} ${reading.direction}°` : "no reading yet"}
      </span>
    </p>
  );
}

function compass(degrees: number): string {
  return POINTS[Math.round(degrees / 45) % 8]!;
}

interface ChartProps {
  readonly readings: readonly Reading[];
  readonly threshold: number;
  readonly warned: readonly Reading[];
}

function Chart({ readings, threshold, warned }: ChartProps): ReactElement {
  const [box, { width, height }] = useSize();
  const [pointed, setPointed] = useState<number | null>(null);
  const above = useId();
  const small = width < 560;
  const [left, right, top, bottom] = [small ? 26 : 34, small ? 6 : 76, 8, small ? 62 : 72];
  const end = readings.at(-1)?.at.getTime() ?? 0;
  const x = (at: number): number => left + (1 - (end - at) / SPAN) * (width - left - right);
  const y = (speed: number): number =>
    top + ((MOST - speed) / (MOST - LEAST)) * (height - top - bottom);
  const floor = height - bottom;
  const shown = readings.filter(({ at }) => at.getTime() >= end - SPAN);
  const curve = shown
    .map(
      ({ at, speed }, index) =>
        `${index ? "L" : "M"}${x(at.getTime()).toFixed(1)} ${y(speed).toFixed(1)}`,
    )
    .join("");
  const nearest = pointed === null ? undefined : closest(shown, end - SPAN * (1 - pointed));

  const point = (event: PointerEvent<SVGSVGElement>): void => {
    const along = event.clientX - event.currentTarget.getBoundingClientRect().left - left;
    setPointed(Math.min(1, Math.max(0, along / (width - left - right))));
  };

  return (
    <div className="chart" ref={box}>
      {width > 0 && (
        <svg
          width={width}
          height={height}
          role="img"
          aria-label={summary(shown, threshold)}
          onPointerMove={point}
          onPointerLeave={() => setPointed(null)}
        >
          <clipPath id={above}>
            <rect x={left} y={0} width={width - left - right} height={y(threshold)} />
          </clipPath>
          {MARKS.map((mark) => (
            <g key={mark} className="mark">
              <path d={`M${left} ${y(mark)}H${width - right}`} />
              <text x={left - 8} y={y(mark)} dy="0.35em" textAnchor="end">
                {mark}
              </text>
            </g>
          ))}
          {[60, 45, 30, 15, 0].map((ago) => (
            <text
              key={ago}
              className="time"
              x={x(end - ago * 1000)}
              y={height - 4}
              textAnchor={ago === 60 ? "start" : ago ? "middle" : small ? "end" : "middle"}
            >
              {ago ? `−${ago} s` : "now"}
            </text>
          ))}
          {shown.length > 1 && (
            <>
              <path
                className="area"
                clipPath={`url(#${above})`}
                d={`${curve}L${x(end)} ${floor}L${x(shown[0]!.at.getTime())} ${floor}Z`}
              />
              <path className="curve" d={curve} />
              <path className="curve high" clipPath={`url(#${above})`} d={curve} />
            </>
          )}
          <g className="threshold">
            <path d={`M${left} ${y(threshold)}H${width - right}`} />
            <text
              x={small ? left - 8 : width - right + 8}
              y={y(threshold)}
              dy="0.35em"
              textAnchor={small ? "end" : "start"}
            >
              {small ? threshold : `gust, ${threshold}`}
            </text>
          </g>
          {warned
            .filter(({ at }) => at.getTime() >= end - SPAN && at.getTime() <= end)
            .map(({ at, speed }) => (
              <path
                key={at.getTime()}
                className="warned"
                transform={`translate(${x(at.getTime())} ${y(speed) - 6})`}
                d="M0 0l-6 -9h12z"
              />
            ))}
          {barbsOf(shown, small ? 10_000 : 5000).map((reading) => (
            <g
              key={reading.at.getTime()}
              className="barb"
              transform={`translate(${x(reading.at.getTime())} ${floor + (bottom - 20) / 2})`}
            >
              <Barb reading={reading} length={small ? 28 : 34} />
            </g>
          ))}
          {shown.length > 0 && (
            <circle className="tip" cx={x(end)} cy={y(shown.at(-1)!.speed)} r={4} />
          )}
          {nearest && (
            <Pointed
              reading={nearest}
              x={x(nearest.at.getTime())}
              y={y(nearest.speed)}
              top={top}
              floor={floor}
              flip={x(nearest.at.getTime()) > width / 2}
            />
          )}
        </svg>
      )}
    </div>
  );
}

interface PointedProps {
  readonly reading: Reading;
  readonly x: number;
  readonly y: number;
  readonly top: number;
  readonly floor: number;
  readonly flip: boolean;
}

function Pointed({ reading, x, y, top, floor, flip }: PointedProps): ReactElement {
  return (
    <g className="pointed">
      <path d={`M${x} ${top}V${floor}`} />
      <circle cx={x} cy={y} r={4} />
      <text x={x + (flip ? -8 : 8)} y={top + 10} textAnchor={flip ? "end" : "start"}>
        {reading.speed.toFixed(1)} m/s at {reading.at.toLocaleTimeString("en-GB")}
      </text>
    </g>
  );
}

function closest(readings: readonly Reading[], at: number): Reading | undefined {
  let found: Reading | undefined;
  for (const each of readings)
    if (!found || Math.abs(each.at.getTime() - at) < Math.abs(found.at.getTime() - at))
      found = each;
  return found;
}

/** The first reading of every so many milliseconds, so that barbs stay with their moment. */
function barbsOf(readings: readonly Reading[], every: number): readonly Reading[] {
  const slot = ({ at }: Reading): number => Math.floor(at.getTime() / every);
  return readings.filter((each, index) => index > 0 && slot(each) !== slot(readings[index - 1]!));
}

function summary(readings: readonly Reading[], threshold: number): string {
  if (!readings.length) return "Wind speed: no readings yet";
  const speeds = readings.map(({ speed }) => speed);
  const [least, most] = [Math.min(...speeds), Math.max(...speeds)].map((speed) => speed.toFixed(0));
  return `Wind speed of the last minute: from ${least} to ${most} metres per second, warned of above ${threshold}`;
}

function useSize(): [(element: HTMLElement | null) => void, { width: number; height: number }] {
  const [size, setSize] = useState({ width: 0, height: 0 });
  const observer = useRef<ResizeObserver | null>(null);
  const [observe] = useState(() => (element: HTMLElement | null): void => {
    observer.current?.disconnect();
    if (!element) return;
    observer.current = new ResizeObserver(([entry]) => {
      const { width, height } = entry!.contentRect;
      setSize({ width, height });
    });
    observer.current.observe(element);
  });
  return [observe, size];
}
