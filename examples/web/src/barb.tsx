// A wind barb, as on weather maps: the staff points to where the wind comes from; a pennant stands
// for 50 knots, a feather for 10, half a feather for 5.
import type { ReactElement } from "react";
import type { Reading } from "./api/index.js";

const KNOTS = 1.943844;

export interface BarbProps {
  readonly reading: Reading;
  readonly length: number;
}

/** Turns about the middle of its staff. */
export function Barb({ reading, length }: BarbProps): ReactElement {
  const step = length / 8;
  const size = length * 0.4;
  let rest = Math.round((reading.speed * KNOTS) / 5) * 5;
  let at = -length;
  let feathers = `M0 0V${-length}`;
  let pennants = "";
  for (; rest >= 50; rest -= 50) {
    pennants += `M0 ${at}L${size} ${at + step * 0.6}L0 ${at + step * 1.4}Z`;
    at += step * 1.5;
  }
  if (pennants) at += step * 0.4;
  for (; rest >= 10; rest -= 10) {
    feathers += `M0 ${at}L${size} ${at - step * 0.9}`;
    at += step * 0.9;
  }
  if (rest) feathers += `M0 ${at}L${size / 2} ${at - step * 0.45}`;
  return (
    <g transform={`rotate(${reading.direction}) translate(0 ${length / 2})`}>
      <path d={feathers} className="staff" />
      <path d={pennants} className="pennant" />
      <circle r={length / 16} className="pennant" />
    </g>
  );
}
