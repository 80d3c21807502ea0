// Receives webhooks: node receiver.mjs. It needs Node 18.3 or later and nothing else.
//
// PORT                     where it listens on 127.0.0.1 (8080); what speaks TLS stands in front
// WEBHOOK_SECRET           the secret of the endpoint
// WEBHOOK_PREVIOUS_SECRET  the one before, while a rotation is under way
// WEBHOOK_SCHEME           meshia: X-Meshia-Signature (the default); standard: the headers of Standard Webhooks

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const limit = 1 << 20; // bytes of body
const tolerance = 300; // seconds between the sender's clock and ours

// The headers are req.headersDistinct: a list of values for each name. One value is good, two are not.
function meshia(headers, body, secret) {
  const values = headers["x-meshia-signature"] ?? [];
  const expected = "sha256=" + createHmac("sha256", secret).update(body).digest("hex");
  return values.length === 1 && same(values[0], expected);
}

function standard(headers, body, secret) {
  const values = ["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) => headers[name] ?? []);
  if (values.some((v) => v.length !== 1)) return false;
  const [[id], [timestamp], [signatures]] = values;
  if (!/^[0-9]{1,12}$/.test(timestamp) || Math.abs(Date.now() / 1000 - timestamp) > tolerance) return false;
  const key = secret.startsWith("whsec_") ? Buffer.from(secret.slice(6), "base64") : secret;
  const expected = "v1," + createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64");
  return signatures.split(" ").some((s) => same(s, expected));
}

function same(a, b) {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
}

// Stores the event durably and returns; the work is done elsewhere. An id that is stored already changes nothing.
async function accept(id, event) {
  console.log(id, event.event, event.session_id);
}

// Returns the raw bytes, which nothing may decode before they are verified, or null if they are too many.
async function read(req) {
  const chunks = [];
  let size = 0;
  for await (const chunk of req.iterator({ destroyOnReturn: false })) {
    size += chunk.length;
    if (size > limit) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function receive(req, res) {
  const answer = (status, headers) => res.writeHead(status, headers).end();
  if (req.method !== "POST") return answer(405, { Allow: "POST" });
  const body = await read(req);
  if (body === null) return answer(413, { Connection: "close" });
  if (!secrets.some((secret) => check(req.headersDistinct, body, secret))) return answer(401);
  let event;
  try {
    event = JSON.parse(body);
  } catch {
    return answer(400);
  }
  await accept(req.headers["webhook-id"], event);
  answer(204);
}

const secrets = [process.env.WEBHOOK_SECRET, process.env.WEBHOOK_PREVIOUS_SECRET].filter(Boolean);
const check = new Map([["meshia", meshia], ["standard", standard]]).get(process.env.WEBHOOK_SCHEME ?? "meshia");
if (secrets.length === 0 || !check) {
  console.error("WEBHOOK_SECRET is missing, or WEBHOOK_SCHEME is neither meshia nor standard");
  process.exit(1);
}
const server = createServer((req, res) => {
  receive(req, res).catch(() => (res.headersSent ? res.destroy() : res.writeHead(500).end())); // what failed is sent again
});
server.requestTimeout = 15_000;
server.listen(process.env.PORT ?? 8080, "127.0.0.1", () => {
  const { address, port } = server.address();
  console.log(`listening on ${address}:${port}`);
});
