// Who this page says it is. A browser shows no certificate over WebTransport, so the server gives
// the page a token, and finds it in the URL of the session.

const KEY = "name";

export function storedName(): string {
  return localStorage.getItem(KEY) ?? "Ada";
}

export function storeName(name: string): void {
  localStorage.setItem(KEY, name);
}

/** A token that is good for some minutes. A session asks for one each time that it connects. */
export async function tokenFor(name: string): Promise<string> {
  const response = await fetch("/api/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name }),
  });
  if (!response.ok) throw new Error(`no token: the server says ${response.status}`);
  const { token } = (await response.json()) as { token: string };
  return token;
}
