#!/bin/sh
# Checks a request that was saved: sh verify.sh BODY-FILE SIGNATURE, where SIGNATURE is the value of X-Meshia-Signature and
# the environment has WEBHOOK_SECRET. Prints "verified" or "not verified"; the exit status is 0 or 1.
# For finding out what is wrong, on a machine of one's own: while openssl runs, its arguments, and so the secret, are in the list of processes.
set -eu

if [ $# -ne 2 ] || [ -z "${WEBHOOK_SECRET:-}" ]; then
  echo "usage: WEBHOOK_SECRET=... $0 BODY-FILE SIGNATURE" >&2
  exit 2
fi
mac=$(openssl dgst -sha256 -hmac "$WEBHOOK_SECRET" <"$1")
if [ "sha256=${mac##* }" = "$2" ]; then
  echo "verified"
else
  echo "not verified"
  exit 1
fi
