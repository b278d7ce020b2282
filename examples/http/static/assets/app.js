// What a bundler would have built: it calls the typed service with JSON, and FastAPI beside it.

/** Calls a method of a service; throws what the server says is wrong. */
async function call(service, method, args) {
  const response = await fetch(`/${service}/${method}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(args),
  });
  const answer = await response.json();
  if (!response.ok) {
    throw new Error(`${answer.detail} (${answer.code})`);
  }
  return answer;
}

function show(text, failed = false) {
  const item = document.createElement("li");
  item.textContent = text;
  item.classList.toggle("failed", failed);
  document.getElementById("answers").append(item);
}

document.getElementById("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const message = new FormData(event.target).get("message");
  try {
    show(await call("echo", "echo", { message }));
  } catch (error) {
    show(error.message, true);
  }
});

const who = await (await fetch("/api/whoami")).json();
document.getElementById("who").textContent = `You are ${who.name}, and ask over HTTP/${who.http}.`;
