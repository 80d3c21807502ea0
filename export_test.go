package webhook

import (
	"net/http"
	"time"
)

// What tests of this package may reach inside: the pure middle, which has no door of its own.

type Rules = rules

func NewRules(policy RetryPolicy, maxRetryAfter time.Duration, maxInFlight int) Rules {
	return rules{policy: policy, maxRetryAfter: maxRetryAfter, maxInFlight: maxInFlight}
}

func (r rules) Settle(l *Lease, a Attempt) Outcome { return r.settle(l, a) }

func RetryAfter(h http.Header, now time.Time) time.Duration { return retryAfter(h, now) }

func CutRune(b []byte) []byte { return cutRune(b) }

func ClipHeader(h http.Header, limit int) http.Header { return clipHeader(h, limit) }
