package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/meshia/webhook/internal/netguard"
)

// Config is what may be changed about a dispatcher. The zero value of each field is its default; nothing is unsafe by
// default.
// Values out of range are refused with an error that names the range.
type Config struct {
	// Registry holds the event types that Emit accepts and that endpoints may subscribe to. Defaults to
	// DefaultRegistry().
	Registry *Registry
	// Retry decides when a failed attempt is repeated. Defaults to Backoff{}: three retries after about 10 s, 1 min
	// and 6 min.
	Retry RetryPolicy
	// MaxRetryAfter bounds how far a response's Retry-After may raise a wait. Defaults to 24 h. At most 365 days.
	MaxRetryAfter time.Duration
	// MaxAge is how long after it was enqueued a delivery that is still pending is given up. Defaults to 5 days. At
	// most 365 days.
	MaxAge time.Duration

	// Timeout bounds one attempt's whole exchange, from the look-up of the host to the end of the response. A 2xx
	// whose body is cut off by it still counts as delivered. Defaults to 15 s. At most 10 min.
	Timeout time.Duration
	// Drain is how long Run waits for attempts in flight when its context ends, before it cuts them off. Defaults to
	// 20 s. At most 365 days.
	Drain time.Duration
	// Poll is the longest that Run waits before it asks the store again. Defaults to 1 s. At most 1 h.
	Poll time.Duration
	// Slots is how many attempts this dispatcher has in flight at most. Slow and failing endpoints share half of them.
	// Defaults to 256. At most 65 536.
	Slots int
	// TenantSlots is how many of Slots the attempts of one tenant may take at once in this dispatcher, so that no
	// tenant's endpoints, however they behave, keep those of the others from being served. Endpoints without a tenant
	// are not bound, nor are Ping, SendTest and Redeliver, which take no slots. Defaults to half of Slots, rounded up;
	// at most Slots.
	TenantSlots int
	// MaxInFlight is how many attempts one endpoint may have in flight over all dispatchers; an endpoint may have a
	// lower bound of its own. It starts at 1, doubles with each success and falls back with a timeout or a late
	// failure.
	// Defaults to 8. At most 65 536.
	MaxInFlight int

	// PauseAfter is how many attempts in a row may fail before the endpoint is paused: its deliveries wait, and use up
	// none of their retries, while one probe at a time is sent. Defaults to 10. At most 1 000 000.
	PauseAfter int
	// PauseMin is how long after the pause began the first probe is sent; each of the next waits for as long as the
	// pause has lasted, PauseMax at most. The first success ends the pause. Default to 30 s and 10 min. At most 24 h
	// each.
	PauseMin, PauseMax time.Duration
	// DisableAfter is for how long an endpoint may fail before it is disabled: no attempt succeeded in that time, and
	// 10 at least failed. Defaults to 5 days. At most 365 days.
	DisableAfter time.Duration
	// NeverDisable leaves endpoints paused, however long they fail. DisableAfter must be 0 then. An endpoint that
	// answers 410 Gone is disabled in any case.
	NeverDisable bool
	// MaxPending is how many deliveries may wait for one endpoint. Events beyond it are not queued, but counted in a
	// [Gap], until a tenth of them are worked off; RedeliverEvent is refused. Defaults to 100 000.
	MaxPending int

	// MaxEventBytes bounds an event's body. Defaults to 256 KiB. At most 64 MiB.
	MaxEventBytes int
	// MaxResponseBytes is how much of a response's body is kept in the log, and as much of its header. Defaults to 16
	// KiB. At most 1 MiB.
	MaxResponseBytes int
	// MaxEndpoints is how many endpoints a tenant may have. Defaults to 50. At most 2^30, as MaxPending.
	MaxEndpoints int
	// Sealer encrypts secrets before they are stored. Without it they are stored as they are, and a warning is logged
	// once, unless they stay in a MemoryStore.
	Sealer Sealer
	// KeepDeliveries is how long a finished delivery stays in the log, with its attempts and its event, before Run
	// removes it. An event without deliveries stays as long, and its id is known as long. Defaults to 30 days.
	KeepDeliveries time.Duration
	// KeepBodies is how long the contents of events and attempts are kept: bodies, metadata, headers. They are kept
	// longer only for what is still to be sent. Defaults to KeepDeliveries; at most that.
	KeepBodies time.Duration
	// KeepForever keeps everything: Run removes nothing. KeepDeliveries and KeepBodies must be 0 then.
	KeepForever bool
	// RequireTenant refuses every call that is not made through Dispatcher.Tenant, so that a forgotten tenant is an
	// error.
	RequireTenant bool

	// InsecureHTTP accepts endpoints with http:// URLs: events and signatures then travel readable, and whoever is on
	// the way can change them.
	InsecureHTTP bool
	// AllowPrefixes opens addresses that no request reaches otherwise: private, loopback, link-local and other special
	// ones.
	AllowPrefixes []netip.Prefix
	// DenyPrefixes closes further addresses. They win over AllowPrefixes.
	DenyPrefixes []netip.Prefix
	// NAT64Prefixes names the network's own NAT64 prefixes (RFC 6052); an address inside is judged by the IPv4 address
	// that it stands for.
	NAT64Prefixes []netip.Prefix
	// Ports are the ports that endpoints may use. Defaults to 80, 443, 8080, 8443.
	Ports []uint16
	// AllowAnyPort lets endpoints use any port. Ports must be empty then.
	AllowAnyPort bool
	// RootCAs verifies the endpoints' certificates. Defaults to the system's pool.
	RootCAs *x509.CertPool
	// ClientCertificates are shown to endpoints that ask for one.
	ClientCertificates []tls.Certificate
	// EgressProxy sends every request through this proxy: http, https or socks5. The proxy then looks up and dials the
	// endpoints' addresses, and IT ALONE decides which of them may be reached: this library no longer sees them.
	// Proxies of the environment (HTTP_PROXY) are never used.
	EgressProxy *url.URL
	// UnguardedTransport sends the requests instead of the guarded transport, for tests and exotic needs. None of
	// AllowPrefixes, DenyPrefixes, NAT64Prefixes, RootCAs, ClientCertificates and EgressProxy may be set with it.
	// NOTHING then keeps requests from private addresses; it must not follow redirects.
	UnguardedTransport http.RoundTripper

	// Logger gets what an operator wants to know: warnings, which pauses and disablings are; at info level attempts
	// that failed and other changes of endpoints' states; at debug level the attempts that succeeded. Of a URL only the
	// host is logged: paths carry tokens. Defaults to what slog.Default() is when the dispatcher is made.
	Logger *slog.Logger
	// Hooks are told what happens. Defaults to none.
	Hooks *Hooks
}

// leaseMargin is what a lease lasts beyond the timeout of its attempt: time to record the outcome, and for clocks and
// pauses.
const leaseMargin = 15 * time.Second

// withDefaults returns a copy of cfg with the defaults in it, or every complaint about it.
func (cfg *Config) withDefaults() (Config, error) {
	var c Config
	if cfg != nil {
		c = *cfg
	}
	var errs []error
	complain := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrInvalidConfig}, args...)...))
	}
	duration := func(name string, d *time.Duration, standard, most time.Duration) {
		if *d < 0 || *d > most {
			complain("%s is %v, not in 0..%v", name, *d, most)
		}
		if *d == 0 {
			*d = standard
		}
	}
	count := func(name string, n *int, standard, most int) {
		if *n < 0 || *n > most {
			complain("%s is %d, not in 0..%d", name, *n, most)
		}
		if *n == 0 {
			*n = standard
		}
	}
	const year = 365 * 24 * time.Hour
	duration("MaxRetryAfter", &c.MaxRetryAfter, 24*time.Hour, year)
	duration("MaxAge", &c.MaxAge, 5*24*time.Hour, year)
	duration("Timeout", &c.Timeout, 15*time.Second, 10*time.Minute)
	duration("KeepDeliveries", &c.KeepDeliveries, 30*24*time.Hour, 100*year)
	duration("KeepBodies", &c.KeepBodies, c.KeepDeliveries, c.KeepDeliveries)
	duration("Drain", &c.Drain, 20*time.Second, year)
	duration("Poll", &c.Poll, time.Second, time.Hour)
	count("Slots", &c.Slots, 256, 1<<16)
	count("TenantSlots", &c.TenantSlots, (c.Slots+1)/2, max(c.Slots, 0))
	count("MaxInFlight", &c.MaxInFlight, 8, 1<<16)
	count("PauseAfter", &c.PauseAfter, 10, 1_000_000)
	duration("PauseMin", &c.PauseMin, 30*time.Second, 24*time.Hour)
	duration("PauseMax", &c.PauseMax, max(10*time.Minute, c.PauseMin), 24*time.Hour)
	duration("DisableAfter", &c.DisableAfter, 5*24*time.Hour, year)
	count("MaxPending", &c.MaxPending, 100_000, 1<<30)
	count("MaxEventBytes", &c.MaxEventBytes, 256<<10, 64<<20)
	count("MaxResponseBytes", &c.MaxResponseBytes, 16<<10, 1<<20)
	count("MaxEndpoints", &c.MaxEndpoints, 50, 1<<30)

	if cfg != nil && cfg.KeepForever && (cfg.KeepDeliveries != 0 || cfg.KeepBodies != 0) {
		complain("KeepForever is set beside KeepDeliveries or KeepBodies")
	}
	if c.PauseMax < c.PauseMin {
		complain("PauseMax is %v, below PauseMin, which is %v", c.PauseMax, c.PauseMin)
	}
	if c.NeverDisable {
		if cfg.DisableAfter != 0 {
			complain("NeverDisable is set beside DisableAfter")
		}
		c.DisableAfter = 0
	}
	if c.Registry == nil {
		c.Registry = DefaultRegistry()
	}
	if c.Retry == nil {
		c.Retry = Backoff{}
	}
	if policy, ok := c.Retry.(interface{ check() error }); ok {
		if err := policy.check(); err != nil {
			complain("Retry: %w", err)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = slog.New(calm{c.Logger.Handler()})
	if c.Sealer != nil {
		c.Sealer = careful{c.Sealer}
	}
	if c.UnguardedTransport != nil && (c.AllowPrefixes != nil || c.DenyPrefixes != nil || c.NAT64Prefixes != nil || c.RootCAs != nil || c.ClientCertificates != nil || c.EgressProxy != nil) {
		complain("UnguardedTransport is set beside fields that only the guarded transport obeys")
	}
	return c, errors.Join(errs...)
}

// transport makes the guard of URLs and the transport that every request goes through.
func (c *Config) transport() (*netguard.Guard, http.RoundTripper, error) {
	guard, err := netguard.New(&netguard.Config{
		AllowPrefixes: c.AllowPrefixes, DenyPrefixes: c.DenyPrefixes, NAT64Prefixes: c.NAT64Prefixes,
		Ports: slices.Clone(c.Ports), AllowAnyPort: c.AllowAnyPort, AllowHTTP: c.InsecureHTTP,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	}
	if c.UnguardedTransport != nil {
		return guard, c.UnguardedTransport, nil
	}
	guarded, err := guard.Transport(&netguard.TransportConfig{RootCAs: c.RootCAs, ClientCertificates: c.ClientCertificates, EgressProxy: c.EgressProxy})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	}
	return guard, guarded, nil
}

// calm recovers where the user's log handler panics: the entry is lost, and nothing else.
type calm struct{ slog.Handler }

// Enabled implements [slog.Handler].
func (c calm) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	defer func() { _ = recover() }()
	return c.Handler.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (c calm) Handle(ctx context.Context, r slog.Record) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("webhook: the log handler panicked: %v", p)
		}
	}()
	return c.Handler.Handle(ctx, r)
}
