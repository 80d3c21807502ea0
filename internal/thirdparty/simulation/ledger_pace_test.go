package simulation

import (
	"net/http"
	"time"

	"github.com/meshia/webhook"
)

// How an endpoint is served: at its rate, with so many requests under way, within its timeout, with its headers, and
// one probe at a time while it is paused.

// pace reckons with the leases that Claim gives an endpoint. debt is how many of a burst are used up; it is paid back
// at the rate, and by the last rate while there is none.
type pace struct {
	on       bool
	interval time.Duration
	burst    int
	debt     float64
	at       time.Time // when debt was that
}

// bearing is by how much the model, which reckons with fractions, and a store may differ.
const bearing = time.Microsecond

func (p *pace) pay(now time.Time) {
	if p.interval > 0 {
		p.debt = max(0, p.debt-float64(now.Sub(p.at))/float64(p.interval))
	}
	p.at = now
}

// change takes a new rate. What of the burst is used up stays so, as far as it fits into the new one.
func (p *pace) change(e *webhook.Endpoint, now time.Time) {
	p.pay(now)
	if p.on = e.Rate > 0; p.on {
		p.interval, p.burst = interval(e), burst(e)
		p.debt = min(p.debt, float64(p.burst))
	}
}

// wait is how long until the rate lets another lease go.
func (p *pace) wait(now time.Time) time.Duration {
	if !p.on {
		return 0
	}
	p.pay(now)
	return max(0, time.Duration((p.debt+1-float64(p.burst))*float64(p.interval)))
}

func (p *pace) use(now time.Time) {
	if p.on {
		p.pay(now)
		p.debt++
	}
}

func interval(e *webhook.Endpoint) time.Duration { return time.Duration(1e9 / e.Rate) }

func burst(e *webhook.Endpoint) int {
	if e.Burst > 0 {
		return e.Burst
	}
	n := int(e.Rate)
	if float64(n) < e.Rate {
		n++
	}
	return n
}

// readyIn is how long until nothing but a window, or slots, keeps a pending delivery from being given out; 0: it is
// ready.
func (d *delivery) readyIn(now time.Time) time.Duration {
	ready := d.NextAttemptAt
	if until := d.at.Health.PausedUntil; d.at.Health.State == webhook.EndpointPaused && until.After(ready) {
		ready = until
	}
	wait := ready.Sub(now)
	if p := d.at.pace.wait(now); p > 0 {
		wait = max(wait, p+bearing)
	}
	return max(0, wait)
}

// checkServed checks that Claim may serve the endpoint of a delivery that it gives out.
func (l *ledger) checkServed(d *delivery, now time.Time) {
	ep := d.at
	h := &ep.Health
	if h.State != webhook.EndpointActive && h.State != webhook.EndpointPaused || ep.deleted {
		l.complain("INACTIVE: %s is given out though its endpoint is %s", d.name, h.State)
	}
	if h.State == webhook.EndpointPaused && now.Before(h.PausedUntil) {
		l.complain("PROBE: %s is given out %v before the pause is over", d.name, h.PausedUntil.Sub(now))
	}
	if paused(h) {
		for _, other := range l.owned {
			if other.delivery.at == ep && !other.direct && other.probe() && other.endpoint.Health.Since.Equal(h.Since) {
				l.complain("PROBE: %s is given out beside %s, and its endpoint is paused", d.name, other)
			}
		}
	}
	if wait := ep.pace.wait(now); wait > bearing {
		l.complain("PACE: %s is given out %v before its endpoint's rate allows", d.name, wait)
	}
	ep.pace.use(now)
}

// meter looks at the requests that arrive, as their receiver would. It begins anew with each change of the rate.
type meter struct {
	since  time.Time
	moment time.Time // when all that arrived would have been due at the rate
}

// onTheWay is how much later than its lease was given a request may arrive: half of the lease's margin, and the
// network. Requests may arrive closer to each other by as much.
const onTheWay = 7500*time.Millisecond + 50*time.Millisecond

func (l *ledger) meter(r *request) {
	ep := r.lease.delivery.at
	m := &ep.meter
	if ep.Rate == 0 || r.lease.direct || !r.lease.given.After(m.since) {
		return
	}
	now := time.Now()
	if m.moment.Before(now) {
		m.moment = now
	}
	if early := m.moment.Sub(now) - time.Duration(burst(&ep.Endpoint)-1)*interval(&ep.Endpoint) - onTheWay; early > bearing {
		l.complain("RATE: %s arrives %v before its endpoint's rate allows", r.lease, early)
	}
	m.moment = m.moment.Add(interval(&ep.Endpoint))
}

// checkFlight checks a request against those that are under way to its endpoint.
func (l *ledger) checkFlight(r *request) {
	held := r.lease
	ep := held.delivery.at
	if l.w.Hooks != noHooks && held.starts != 1 {
		l.complain("HOOK: %s is sent, and was announced %d times", held, held.starts)
	}
	if held.direct {
		return
	}
	ep.flying[r] = true
	n, probes := 0, 0
	for other := range ep.flying {
		if other.node.dead() {
			continue // what it sent is cut off, and nobody waits for it
		}
		if other.lease.given.After(ep.bounded) {
			n++
		}
		if other.lease.probe() && other.lease.endpoint.Health.Since.Equal(held.endpoint.Health.Since) {
			probes++
		}
	}
	if most := l.w.inFlight(&ep.Endpoint); n > most {
		l.complain("FLIGHT: with %s, %d requests are under way to its endpoint, which may have %d", held, n, most)
	}
	if held.probe() && probes > 1 {
		l.complain("PROBE: with %s, %d probes are under way to its endpoint", held, probes)
	}
	if h := &held.endpoint.Health; held.probe() && r.started.Before(h.PausedUntil) {
		l.complain("PROBE: %s is sent %v before the pause is over", held, h.PausedUntil.Sub(r.started))
	}
}

// timeout is what one attempt at an endpoint may take: its own bound, or the standard one.
func (*world) timeout(e *webhook.Endpoint) time.Duration {
	if e.Timeout > 0 {
		return e.Timeout
	}
	return 15 * time.Second
}

// headerNames are the headers that endpoints may have of their own, as they arrive.
var headerNames = []string{"Authorization", "X-Shard"}

func (l *ledger) checkHeaders(held *lease, got http.Header) {
	for _, name := range headerNames {
		want, given := held.headers[name]
		if given && got.Get(name) != want || !given && got.Get(name) != "" {
			l.complain("HEADER: %s does not arrive with the %s that its endpoint has, or has none", held, name)
		}
	}
}
