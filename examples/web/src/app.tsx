import { useCallback, useState, type ReactElement } from "react";
import {
  JetStreamProvider,
  useHandler,
  useJetStream,
  useSubscription,
} from "jetstream-client/react";
import { Page, StationChannel, type Reading } from "./api/index.js";
import { Called, type Happening } from "./called.tsx";
import { Calls } from "./calls.tsx";
import { Front } from "./front.tsx";
import { storedName, storeName, tokenFor } from "./token.ts";
import { received, sent } from "./traffic.ts";
import { Wind } from "./wind.tsx";
import { You } from "./you.tsx";

/** Readings that are kept: those of a minute, four a second. */
const READINGS = 240;
/** Lines of the log that are kept. */
const HAPPENINGS = 30;

export function App(): ReactElement {
  const [{ name, session }, setWho] = useState(() => ({ name: storedName(), session: 0 }));
  const signIn = useCallback((name: string) => {
    storeName(name);
    setWho(({ session }) => ({ name, session: session + 1 }));
  }, []);
  // Another token is another session.
  return (
    <JetStreamProvider key={session} url="/" options={{ token: () => tokenFor(name) }}>
      <Watch name={name} onSignIn={signIn} />
    </JetStreamProvider>
  );
}

function Watch(props: { readonly name: string; readonly onSignIn: (name: string) => void }) {
  const station = useJetStream(StationChannel);
  const [threshold, setThreshold] = useState(60);
  const [happenings, setHappenings] = useState<readonly Happening[]>([]);

  // What the server sends, as long as it likes.
  const wind = useSubscription((last?: Reading) => sent(station.wind(last?.at)), [station], {
    limit: READINGS,
  });

  // What the server calls.
  const happen = (what: Omit<Happening, "id" | "at">): void => {
    received();
    const at = new Date();
    setHappenings((known) => [
      { ...what, at, id: (known[0]?.id ?? 0) + 1 },
      ...known.slice(0, HAPPENINGS - 1),
    ]);
  };
  useHandler(Page, {
    gust: (reading) =>
      happen({ kind: "gust", text: `Wind at ${reading.speed.toFixed(1)} m/s`, reading }),
    waved: (by) => happen({ kind: "wave", text: `${by} waved` }),
  });

  const warned = happenings.flatMap(({ reading }) => reading ?? []);

  return (
    <>
      <header>
        <h1>Jet stream watch</h1>
        <p>
          This page and a Python program call each other, typed on both ends, over one WebTransport
          session. The wind is made up; everything else is measured.
        </p>
      </header>
      <Front name={props.name} />
      <main>
        <Wind wind={wind} threshold={threshold} warned={warned} />
        <div className="panels">
          <Calls />
          <Called threshold={threshold} onThreshold={setThreshold} happenings={happenings} />
          <You name={props.name} onSignIn={props.onSignIn} />
        </div>
      </main>
    </>
  );
}
