package webhook

import (
	"context"
	"net/http"
	"time"

	"github.com/meshia/webhook/internal/netguard"
)

// What tests of this package may reach inside: the pure middle, which has no door of its own.

func WithDefaults(cfg *Config) (Config, error) { return cfg.withDefaults() }

func TransportOf(cfg *Config) (http.RoundTripper, error) {
	_, transport, err := cfg.transport()
	return transport, err
}

type Rules = rules

func NewRules(policy RetryPolicy, maxRetryAfter time.Duration, maxInFlight int) Rules {
	return rules{
		policy: policy, maxRetryAfter: maxRetryAfter, maxInFlight: maxInFlight,
		pauseAfter: 10, pauseMin: 30 * time.Second, pauseMax: 10 * time.Minute, disableAfter: 5 * 24 * time.Hour,
	}
}

func (r rules) Settle(l *Lease, a Attempt) Outcome { return r.settle(l, a) }

// Never are rules after which no failing endpoint is disabled.
func (r Rules) Never() Rules {
	r.disableAfter = 0
	return r
}

func (r Rules) Warns(before, after Health) bool { return r.warns(&before, &after) }

func RetryAfter(h http.Header, now time.Time) time.Duration { return retryAfter(h, now) }

func CutRune(b []byte) []byte { return cutRune(b) }

func ClipHeader(h http.Header, limit int) http.Header { return clipHeader(h, limit) }

func Clip(s string, limit int) string { return clip(s, limit) }

// Causes of the end of an attempt's context.
var ErrStopped, ErrTimedOut = errStopped, errTimedOut

// Classify puts the error of a round trip into its class, with the error of its TLS handshake and whether a byte of a
// response came.
func Classify(ctx context.Context, err, tlsErr error, answered bool) (AttemptResult, ErrorClass, string) {
	x := &exchange{tlsErr: tlsErr, answered: answered}
	return x.classify(ctx, err)
}

// Choose says which of the live secrets, by their ids, signs X-Meshia-Signature.
func Choose(live []string, accepted, last string) int {
	keys := make([]signingKey, len(live))
	for i, id := range live {
		keys[i].id = id
	}
	return choose(keys, &Lease{Endpoint: &Endpoint{Health: Health{AcceptedSecret: accepted}}, LastSecret: last})
}

type Keyring = keyring

const KeyringSize = keyringSize

// Hold makes what is needed to send to e, and returns how many endpoints that is kept of.
func (k *keyring) Hold(guard *netguard.Guard, e *Endpoint) (int, error) {
	k.forge = (&engine{guard: guard}).newKeys
	_, err := k.target(context.Background(), e, e.CreatedAt)
	return len(k.entries), err
}

const KeylessMax = keylessMax

// Shut leaves an endpoint to other processes, as one whose secret does not open.
func (d *Dispatcher) Shut(of EndpointRef) { d.shut.add(of, time.Now()) }
