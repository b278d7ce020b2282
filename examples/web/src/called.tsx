// What the server calls: this page serves `Page`, and says what it wants to be told.
import { useState, type ReactElement } from "react";
import { useConnectionState, useJetStream, useRPC } from "jetstream-client/react";
import { StationChannel, type Reading } from "./api/index.js";
import { call } from "./traffic.ts";

export interface Happening {
  readonly id: number;
  readonly at: Date;
  readonly kind: "gust" | "wave";
  readonly text: string;
  /** What the server warned of. */
  readonly reading?: Reading;
}

export interface CalledProps {
  readonly threshold: number;
  readonly onThreshold: (threshold: number) => void;
  readonly happenings: readonly Happening[];
}

export function Called({ threshold, onThreshold, happenings }: CalledProps): ReactElement {
  const station = useJetStream(StationChannel);
  const { connections } = useConnectionState();
  const [waved, setWaved] = useState("");

  // The server knows it of a connection, so it is told again on each.
  const watching = useRPC(
    (signal) => call(station.watch(threshold, { signal })),
    [station, threshold, connections],
  );

  const wave = async (): Promise<void> => {
    try {
      const pages = await call(station.wave());
      setWaved(pages === 1 ? "1 page answered: open another" : `${pages} pages answered`);
    } catch (error) {
      setWaved((error as Error).message);
    }
  };

  return (
    <section aria-labelledby="called">
      <h2 id="called">You are called</h2>
      <div className="block">
        <label className="slider">
          <span>Call me when it blows over</span>
          <output>{threshold} m/s</output>
          <input
            type="range"
            min={40}
            max={70}
            value={threshold}
            onChange={(event) => onThreshold(Number(event.target.value))}
          />
        </label>
        {watching.error && <p className="failure">{watching.error.message}</p>}
      </div>
      <div className="block">
        <p className="row">
          <button onClick={wave}>Wave to every open page</button>
          <output className="answer">{waved}</output>
        </p>
      </div>
      <ol className="log" role="log" aria-label="Calls from the server">
        {happenings.slice(0, 5).map(({ id, at, kind, text }) => (
          <li key={id} className={kind}>
            <time dateTime={at.toISOString()}>{at.toLocaleTimeString("en-GB")}</time> {text}
          </li>
        ))}
        {happenings.length === 0 && <li className="none">No call from the server yet.</li>}
      </ol>
    </section>
  );
}
