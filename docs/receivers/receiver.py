"""Receives webhooks: python3 receiver.py. It needs Python 3.8 or later and nothing else.

PORT                     where it listens on 127.0.0.1 (8080); what speaks TLS stands in front
WEBHOOK_SECRET           the secret of the endpoint
WEBHOOK_PREVIOUS_SECRET  the one before, while a rotation is under way
WEBHOOK_SCHEME           meshia: X-Meshia-Signature (the default); standard: the headers of Standard Webhooks
"""

import base64, json, os, re, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import hmac, hashlib

def verify(payload_bytes, signature, secret):
    expected = hmac.new(
        secret.encode(), payload_bytes, hashlib.sha256
    ).hexdigest()
    return hmac.compare_digest(f"sha256={expected}", signature)


LIMIT = 1 << 20  # bytes of body
TOLERANCE = 300  # seconds between the sender's clock and ours


def meshia(headers, body, secret):
    values = headers.get_all("X-Meshia-Signature", [])
    # Once and only once; and compare_digest raises an exception for text that is not ASCII.
    return len(values) == 1 and values[0].isascii() and verify(body, values[0], secret)


def standard(headers, body, secret):
    values = [headers.get_all(name, []) for name in ("webhook-id", "webhook-timestamp", "webhook-signature")]
    if any(len(v) != 1 for v in values):
        return False
    [event_id], [timestamp], [signatures] = values
    if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    mac = hmac.new(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(mac)
    return any(hmac.compare_digest(expected, s.encode()) for s in signatures.split(" "))


def accept(event_id, event):
    """Stores the event durably and returns; the work is done elsewhere. An id that is stored already changes nothing."""
    print(event_id, event["event"], event["session_id"], flush=True)


class Receiver(BaseHTTPRequestHandler):
    timeout = 10  # seconds for the sender to go on

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            return self.answer(411)
        if int(length) > LIMIT:
            return self.answer(413)
        body = self.rfile.read(int(length))  # the raw bytes: nothing may decode them before they are verified
        if not any(check(self.headers, body, secret) for secret in secrets):
            return self.answer(401)
        try:
            accept(self.headers["webhook-id"], json.loads(body))
        except (ValueError, TypeError, KeyError):
            return self.answer(400)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


secrets = [s for s in (os.environ.get("WEBHOOK_SECRET"), os.environ.get("WEBHOOK_PREVIOUS_SECRET")) if s]
check = {"meshia": meshia, "standard": standard}.get(os.environ.get("WEBHOOK_SCHEME", "meshia"))
if not secrets or not check:
    sys.exit("WEBHOOK_SECRET is missing, or WEBHOOK_SCHEME is neither meshia nor standard")
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Receiver)
print("listening on %s:%d" % server.server_address, flush=True)
server.serve_forever()
