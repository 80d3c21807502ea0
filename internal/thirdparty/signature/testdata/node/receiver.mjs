// Answers 204 to what the standardwebhooks library verifies, and 401 to the rest. The path is the number of the secret.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhooks = JSON.parse(process.env.WEBHOOK_SECRETS).map((secret) =>
  secret.startsWith("whsec_")
    ? new Webhook(secret)
    : // A typed secret's bytes are the key. As a string the library would take one byte of each character.
      new Webhook(new TextEncoder().encode(secret), { format: "raw" }),
);

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  try {
    webhooks[Number(request.url.slice(1))].verify(Buffer.concat(chunks), request.headers);
    response.writeHead(204).end();
  } catch (error) {
    response.writeHead(401).end(error.message);
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
