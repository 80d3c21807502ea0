package simulation

import (
	"context"
	"time"

	"github.com/meshia/webhook"
)

// hooksKind is how a run's hooks behave.
type hooksKind string

const (
	noHooks    hooksKind = "none"
	quickHooks hooksKind = "quick"
	roughHooks hooksKind = "rough" // some take long, some panic
)

// hooked is what hooks are to tell of a lease, and what they told.
type hooked struct {
	news     string // the hook that tells what became of the delivery; empty: none does
	reason   webhook.FailReason
	turn     turn // of the endpoint's state, if the outcome turned it
	answered bool // the process knows that its outcome was recorded

	starts, overs, told int
}

// turn is a change of an endpoint's state.
type turn struct {
	ep     *endpoint
	state  webhook.EndpointState
	reason webhook.StateReason
	since  time.Time
}

// turns counts equal ones, which are as many as happened in one call.
type turns struct{ made, told int }

// newsOf is which hook tells of a recorded outcome. Those of a delivery that ends since its endpoint or its contents
// are no more are in the log only.
func newsOf(d *delivery, o *webhook.Outcome) string {
	switch {
	case o.Kind == webhook.OutcomeDelivered:
		return "Delivered"
	case o.Kind == webhook.OutcomeFailed, o.Kind == webhook.OutcomeInterrupted && d.Reason == webhook.FailInterrupted:
		return "GivenUp"
	}
	return ""
}

// turned notes a change of an endpoint's state.
func (l *ledger) turned(ep *endpoint, old webhook.Health) {
	h := &ep.Health
	if old.State == h.State && old.Reason == h.Reason {
		return
	}
	l.entered[h.Reason]++
	at := turn{ep: ep, state: h.State, reason: h.Reason, since: h.Since}
	if l.turns[at] == nil {
		l.turns[at] = &turns{}
	}
	l.turns[at].made++
}

// answered notes that a process learned that its outcomes were recorded.
func (l *ledger) answered(outcomes []webhook.Outcome, applied []bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range outcomes {
		o := &outcomes[i]
		held := l.leases[attemptKey{o.DeliveryID, o.Attempt.Number}]
		if applied[i] && held != nil && held.token == o.Token {
			held.answered = true
		}
	}
}

// hooks are a process's hooks, or nil.
func (n *node) hooks() *webhook.Hooks {
	if n.w.Hooks == noHooks {
		return nil
	}
	attempt := func(name string) func(context.Context, webhook.AttemptInfo) {
		return func(_ context.Context, a webhook.AttemptInfo) {
			n.hook(name, func(l *ledger) string { return l.told(n, name, &a) })
		}
	}
	change := func(name string) func(context.Context, webhook.EndpointChange) {
		return func(_ context.Context, c webhook.EndpointChange) {
			n.hook(name, func(l *ledger) string {
				if name == "EndpointFailing" {
					l.toldOfFailing(&c)
				} else {
					l.toldOfTurn(name, &c)
				}
				return c.Endpoint.ID
			})
		}
	}
	return &webhook.Hooks{
		Emitted: func(_ context.Context, tenant string, events []webhook.Event) {
			n.hook("Emitted", func(l *ledger) string {
				n.announced++
				return tenant + events[0].ID
			})
		},
		AttemptStarted: attempt("AttemptStarted"), AttemptEnded: attempt("AttemptEnded"), Delivered: attempt("Delivered"), GivenUp: attempt("GivenUp"),
		EndpointFailing: change("EndpointFailing"), EndpointPaused: change("EndpointPaused"), EndpointDisabled: change("EndpointDisabled"), EndpointEnabled: change("EndpointEnabled"),
		GapOpened: func(_ context.Context, of webhook.EndpointRef, reason webhook.GapReason) {
			n.hook("GapOpened", func(l *ledger) string {
				if ep := l.place(of.Tenant, of.ID); reason == webhook.GapBacklog {
					n.full[ep]--
				} else if ep.gapped[reason]--; ep.gapped[reason] < 0 {
					l.complain("HOOK: GapOpened tells of a gap of endpoint %s (%s) that did not open", of.ID, reason)
				}
				return of.ID
			})
		},
	}
}

// hook is one call of a hook: it tells the ledger, which names what it is about, and behaves as the run's hooks do.
func (n *node) hook(name string, tell func(*ledger) string) {
	if n.dead() {
		_ = n.hold()
		return
	}
	l, w := n.w.ledger, n.w
	l.mu.Lock()
	about := name + tell(l)
	l.calledHooks++
	l.calls[about]++
	roll := w.chance(about, uint64(l.calls[about]))
	l.mu.Unlock()
	if w.Hooks != roughHooks {
		return
	}
	// At the end of a run nothing is to be delayed by hooks, but for what is theirs: what waits for them, and slots.
	if w.calm && (name == "Emitted" || name == "AttemptStarted" || w.Slots < 64) {
		return
	}
	pause := time.Duration(0)
	switch roll % 32 {
	case 0, 1:
		panic("a hook of the simulation")
	case 2:
		pause = 30 * time.Second
	case 3:
		pause = 9 * time.Second
	case 4, 5:
		pause = 300 * time.Millisecond
	default:
		return
	}
	if !n.sleep(context.Background(), pause+time.Duration(roll>>8%1_000_000)) {
		_ = n.hold()
	}
}

// told checks what a hook is told of an attempt.
func (l *ledger) told(n *node, name string, a *webhook.AttemptInfo) string {
	held := l.leases[attemptKey{a.Delivery.ID, a.Delivery.AttemptCount}]
	if held == nil {
		l.complain("HOOK: %s tells of an attempt %d that nobody leased", name, a.Delivery.AttemptCount)
		return ""
	}
	if held.node != n {
		l.complain("HOOK: %s tells %s of %s, which %s made", name, n.name, held, held.node.name)
	}
	again := func(count *int) {
		if *count++; *count > 1 {
			l.complain("HOOK: %s tells of %s for the %d. time", name, held, *count)
		}
	}
	switch name {
	case "AttemptStarted":
		again(&held.starts)
	case "AttemptEnded":
		if again(&held.overs); held.starts == 0 {
			l.complain("HOOK: %s tells of %s, which was not announced", name, held)
		}
	default:
		again(&held.told)
		if !held.answered || held.news != name {
			l.complain("HOOK: %s tells of %s, and nothing of the kind was recorded", name, held)
		}
		if a.Delivery.Reason != held.reason {
			l.complain("HOOK: %s tells of %s, and that the reason is %q, not %q", name, held, a.Delivery.Reason, held.reason)
		}
	}
	return held.delivery.name
}

// toldOfTurn checks what a hook is told of an endpoint.
func (l *ledger) toldOfTurn(name string, c *webhook.EndpointChange) {
	of := map[string]webhook.EndpointState{"EndpointPaused": webhook.EndpointPaused, "EndpointDisabled": webhook.EndpointDisabled, "EndpointEnabled": webhook.EndpointActive}
	h := &c.After
	t := l.turns[turn{ep: l.place(c.Endpoint.Tenant, c.Endpoint.ID), state: h.State, reason: h.Reason, since: h.Since}]
	if t == nil || h.State != of[name] {
		l.complain("HOOK: %s tells that endpoint %s is %s (%q), and it was not", name, c.Endpoint.ID, h.State, h.Reason)
		return
	}
	if t.told++; t.told > t.made {
		l.complain("HOOK: %s tells for the %d. time that endpoint %s is %s (%q)", name, t.told, c.Endpoint.ID, h.State, h.Reason)
	}
}

// toldOfFailing checks what a hook is told of an endpoint that will be disabled, which is once while it fails.
func (l *ledger) toldOfFailing(c *webhook.EndpointChange) {
	h := &c.After
	at := turn{ep: l.place(c.Endpoint.Tenant, c.Endpoint.ID), state: "failing", since: h.FailingSince}
	if l.turns[at] == nil {
		l.turns[at] = &turns{}
	}
	if l.turns[at].told++; l.turns[at].told > 1 || l.w.DisableAfter == 0 || h.LastFailure.Sub(h.FailingSince) < l.w.DisableAfter/2 {
		l.complain("HOOK: EndpointFailing tells for the %d. time of endpoint %s, which fails since %v", l.turns[at].told, c.Endpoint.ID, h.FailingSince)
	}
}

// opened notes that a process learned that it opened the gaps of full backlogs.
func (l *ledger) opened(n *node, of []webhook.EndpointRef) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ref := range of {
		n.full[l.place(ref.Tenant, ref.ID)]++
	}
}

// auditHooks demands that hooks told what a process that lived learned.
func (l *ledger) auditHooks() {
	if l.w.Hooks == noHooks {
		return
	}
	owed := map[turn]int{}
	for _, held := range l.leases {
		if !held.answered || held.node.dead() {
			continue
		}
		if held.turn.ep != nil {
			owed[held.turn]++
		}
		if held.news != "" && held.told != 1 {
			l.complain("HOOK: %s was told %d times that %s was %s", held.node.name, held.told, held, held.news)
		}
		if held.overs != 1 {
			l.complain("HOOK: %s was told %d times that %s was over", held.node.name, held.overs, held)
		}
	}
	for _, n := range l.w.alive(nil) {
		for ep, left := range n.full {
			if left != 0 {
				l.complain("HOOK: %s opened %d more gaps of a full backlog of endpoint %s than it was told of", n.name, left, ep.ID)
			}
		}
		if n.emits != n.announced {
			l.complain("HOOK: %s emitted %d times, and was told of it %d times", n.name, n.emits, n.announced)
		}
	}
	for at, n := range owed {
		if t := l.turns[at]; t.told < n {
			l.complain("HOOK: %d of %d processes were told that endpoint %s is %s (%q)", t.told, n, at.ep.ID, at.state, at.reason)
		}
	}
}
