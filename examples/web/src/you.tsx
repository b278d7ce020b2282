// Who the server takes this page for, how long its token is good, and what carries what.
import { useEffect, useState, type FormEvent, type ReactElement } from "react";
import { useConnectionState, useJetStream, useRPC } from "jetstream-client/react";
import { StationChannel } from "./api/index.js";
import { call } from "./traffic.ts";

const VERSIONS: Record<string, string> = { h3: "HTTP/3", h2: "HTTP/2", "http/1.1": "HTTP/1.1" };

export interface YouProps {
  readonly name: string;
  readonly onSignIn: (name: string) => void;
}

export function You({ name, onSignIn }: YouProps): ReactElement {
  const station = useJetStream(StationChannel);
  const { connections } = useConnectionState();
  const { data: visit } = useRPC(
    (signal) => call(station.who_am_i({ signal })),
    [station, connections],
  );
  const [typed, setTyped] = useState(name);

  const signIn = (event: FormEvent): void => {
    event.preventDefault();
    if (typed.trim()) onSignIn(typed.trim());
  };
  // It is gone before it can answer, or just after.
  const hangUp = (): void => void call(station.hang_up()).catch(() => {});

  return (
    <section aria-labelledby="you">
      <h2 id="you">You are</h2>
      <form className="block name" onSubmit={signIn}>
        <label>
          <span>Name</span>
          <input
            value={typed}
            maxLength={40}
            required
            onChange={(event) => setTyped(event.target.value)}
          />
        </label>
        <button>Get a new token</button>
      </form>
      <dl className="block">
        <dt>Known as</dt>
        <dd>{visit ? (visit.name ?? "nobody") : "…"}</dd>
        <dt>Token</dt>
        <dd>{visit?.expires ? <Expiry at={visit.expires} /> : "…"}</dd>
        <dt>Coming from</dt>
        <dd>{visit?.remote ?? "…"}</dd>
        <dt>This page</dt>
        <dd>over {pageProtocol()}</dd>
        <dt>Calls</dt>
        <dd>{visit ? `over WebTransport, ${VERSIONS[visit.protocol] ?? visit.protocol}` : "…"}</dd>
      </dl>
      <p className="row">
        <button onClick={hangUp}>Have the server hang up</button>
      </p>
      <p className="hint">Or stop it and start it again: the page comes back by itself.</p>
    </section>
  );
}

/** In which version of HTTP the page came. */
function pageProtocol(): string {
  const [entry] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  const protocol = entry?.nextHopProtocol ?? "";
  return VERSIONS[protocol] ?? (protocol || "an unknown protocol");
}

function Expiry({ at }: { readonly at: Date }): ReactElement {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const left = Math.ceil((at.getTime() - now) / 1000);
  if (left <= 0) return <>expired, another comes with the next connection</>;
  const clock = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  return (
    <>
      good for <span className="clock">{clock}</span>
    </>
  );
}
