# Answers 204 to what the documentation's function verifies, and 401 to the rest. The path is the number of the secret.
import http.server
import json
import os

# From the documentation, unchanged.
import hmac, hashlib


def verify(payload_bytes, signature, secret):
    expected = hmac.new(
        secret.encode(), payload_bytes, hashlib.sha256
    ).hexdigest()
    return hmac.compare_digest(f"sha256={expected}", signature)


secrets = json.loads(os.environ["WEBHOOK_SECRETS"])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        good = verify(body, self.headers.get("X-Meshia-Signature", ""), secrets[int(self.path[1:])])
        self.send_response(204 if good else 401)
        self.end_headers()

    def log_message(self, *args):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
