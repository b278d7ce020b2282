// What the page calls: there and back, many at once, and errors with code and advice.
import { useState, type ReactElement } from "react";
import { JetStreamError } from "jetstream-client";
import { useJetStream, useRPC } from "jetstream-client/react";
import { StationChannel } from "./api/index.js";
import { call } from "./traffic.ts";

const MANY = 1000;

export function Calls(): ReactElement {
  return (
    <section aria-labelledby="calls">
      <h2 id="calls">You call</h2>
      <Ping />
      <Add />
    </section>
  );
}

function Ping(): ReactElement {
  const station = useJetStream(StationChannel);
  const [said, setSaid] = useState("nothing yet");
  const [busy, setBusy] = useState(false);

  const timed = async (count: number, tell: (milliseconds: number) => string): Promise<void> => {
    setBusy(true);
    const began = performance.now();
    try {
      await Promise.all(Array.from({ length: count }, () => call(station.ping())));
      setSaid(tell(performance.now() - began));
    } catch (error) {
      setSaid((error as Error).message);
    } finally {
      setBusy(false);
    }
  };
  const once = (): Promise<void> => timed(1, (time) => `there and back in ${time.toFixed(1)} ms`);
  const many = (): Promise<void> =>
    timed(MANY, (time) => {
      const rate = Math.round((MANY / time) * 1000);
      return `${MANY.toLocaleString("en")} in ${time.toFixed(0)} ms, ${rate.toLocaleString("en")} a second`;
    });

  return (
    <div className="block">
      <p className="row">
        <button onClick={once} disabled={busy}>
          Ping
        </button>
        <button onClick={many} disabled={busy}>
          Ping {MANY.toLocaleString("en")} times at once
        </button>
      </p>
      <output className="answer">{said}</output>
    </div>
  );
}

function Add(): ReactElement {
  const station = useJetStream(StationChannel);
  const [a, setA] = useState("2");
  const [b, setB] = useState("40");
  // A call whose arguments change while it is under way is given up.
  const { data, error, loading } = useRPC(
    (signal) => call(station.add(whole(a), whole(b), { signal })),
    [station, a, b],
  );
  return (
    <div className="block">
      <p className="sum">
        <input
          aria-label="First number"
          inputMode="numeric"
          value={a}
          onChange={(event) => setA(event.target.value)}
        />
        <span>+</span>
        <input
          aria-label="Second number"
          inputMode="numeric"
          value={b}
          onChange={(event) => setB(event.target.value)}
        />
        <span>=</span>
        <output className={loading ? "total stale" : "total"}>
          {error || data === undefined ? "?" : data.toLocaleString("en")}
        </output>
      </p>
      {error ? <Failure error={error} /> : <p className="hint">Added by the server as you type.</p>}
    </div>
  );
}

function whole(text: string): number {
  return text.trim() === "" ? Number.NaN : Number(text);
}

function Failure({ error }: { readonly error: Error }): ReactElement {
  const told = error instanceof JetStreamError ? error : null;
  return (
    <p className="failure" role="alert">
      {error.message}
      {told?.help && `: ${told.help}`}
      {told?.code && <code>{told.code}</code>}
    </p>
  );
}
