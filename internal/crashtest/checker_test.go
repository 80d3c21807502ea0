//go:build linux

package crashtest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/meshia/webhook"
)

// report is what the checker found.
type report struct {
	wrong []string // each begins with one of the kinds below

	accepted, unknown  int // events
	delivered, failed  int // deliveries, the second visibly
	waiting            int // deliveries for endpoints that are not active
	requests, repeated int // requests, and those of them that came after a success
	interrupted        int // attempts
}

// What can be wrong.
const (
	lost       = "LOST"       // accepted, and neither delivered nor failed with a reason, waiting or counted in a gap
	ghost      = "GHOST"      // a request or a delivery of what nobody emitted, or for whom it was not
	unlogged   = "UNLOGGED"   // a request without a row, or with one that another request has
	invented   = "INVENTED"   // a row of an answer that no receiver gave
	twice      = "TWICE"      // two deliveries of one event to one endpoint
	numbers    = "NUMBERS"    // attempts that are not numbered 1 to n
	retries    = "RETRIES"    // too many attempts, or too few
	twoOwners  = "TWO OWNERS" // a delivery that was leased or sent by two at once
	fence      = "FENCE"      // an outcome that was taken though its lease was over
	changed    = "CHANGED"    // something final that changed
	unverified = "UNVERIFIED" // a request that does not verify
	body       = "BODY"       // a body that is not the one that was emitted
	gap        = "GAP"        // missed events that are not counted, or counted too often
)

func (r *report) complain(kind, format string, args ...any) {
	r.wrong = append(r.wrong, kind+": "+fmt.Sprintf(format, args...))
}

func (r *report) count(kind string) (n int) {
	for _, text := range r.wrong {
		if strings.HasPrefix(text, kind+": ") {
			n++
		}
	}
	return n
}

// String is the report in one line, as people compare them.
func (r *report) String() string {
	perMille := 0.0
	if r.delivered > 0 {
		perMille = 1000 * float64(r.repeated) / float64(r.delivered)
	}
	return fmt.Sprintf("events accepted %d, unknown %d; deliveries delivered %d, failed visibly %d; lost %d, ghosts %d, unlogged %d, double owners %d; "+
		"attempts interrupted %d, duplicates per thousand %.1f",
		r.accepted, r.unknown, r.delivered, r.failed, r.count(lost), r.count(ghost), r.count(unlogged), r.count(twoOwners), r.interrupted, perMille)
}

// emitted is what the producers' ledgers say of one event.
type emitted struct {
	id       string
	sums     []string // of the bodies that it was emitted with: its time is another one when it is emitted again
	from, to time.Time
	accepted bool
	unknown  bool // whether it was stored, where accepted is not set; otherwise it was refused
}

var never = time.Unix(math.MaxInt32, 0)

func (e *evidence) emitted() map[string]*emitted {
	all := map[string]*emitted{}
	under := map[string]bool{} // events with an emit that nothing is known of yet
	for _, l := range e.lines {
		switch l.Op {
		case OpEmit:
			if all[l.Event] == nil {
				all[l.Event] = &emitted{id: l.Event, from: l.At, to: never}
			}
			all[l.Event].sums = append(all[l.Event].sums, l.Sum)
			under[l.Event] = true
		case OpAccepted:
			if m := all[l.Event]; !m.accepted {
				m.accepted, m.to = true, l.At
			}
			delete(under, l.Event)
		case OpUnknown:
			all[l.Event].unknown = true
			delete(under, l.Event)
		case OpRefused:
			delete(under, l.Event)
		}
	}
	for id := range under {
		all[id].unknown = true
	}
	return all
}

// queues says what an endpoint does with an event that is stored at some time in a span.
type queues int

const (
	perhaps queues = iota // its state changed meanwhile
	absent                // it was not there
	yes                   // it got it
	no                    // it missed it
)

// timelines are the lines about each endpoint's state. Those that say what was known already are left out.
func (e *evidence) timelines() map[string][]Line {
	all := map[string][]Line{}
	for _, l := range e.lines {
		if l.Op != OpChanging && l.Op != OpState {
			continue
		}
		list := all[l.Endpoint]
		if n := len(list); n > 0 && list[n-1].Op == l.Op && list[n-1].State == l.State {
			continue
		}
		all[l.Endpoint] = append(list, l)
	}
	return all
}

// stateIn is what is known of an endpoint's state from a time to another.
func stateIn(timeline []Line, from, to time.Time) queues {
	now := absent
	for _, l := range timeline {
		if l.At.After(to) {
			break
		}
		next := perhaps
		switch {
		case l.Op == OpChanging:
		case l.State == Deleted:
			next = absent
		case webhook.EndpointState(l.State).Queues():
			next = yes
		default:
			next = no
		}
		if l.At.After(from) && next != now {
			return perhaps
		}
		now = next
	}
	return now
}

// check returns what is wrong, and how much is right.
func (e *evidence) check() *report {
	r := &report{}
	events := e.emitted()
	byID := map[string]*webhook.Delivery{}
	byPair := map[[2]string]*webhook.Delivery{}
	for i := range e.after {
		d := &e.after[i]
		if isSeed(d.EventID) {
			continue
		}
		byID[d.ID] = d
		if d.Kind != webhook.KindEvent {
			continue
		}
		pair := [2]string{d.EventID, d.EndpointID}
		if other := byPair[pair]; other != nil {
			r.complain(twice, "%s has deliveries %s and %s to %s", d.EventID, other.ID, d.ID, d.EndpointID)
		}
		byPair[pair] = d
	}
	e.checkEvents(r, events, byPair)
	requests := e.checkRequests(r, events, byID)
	for _, d := range byID {
		e.checkDelivery(r, d, events[d.EventID], requests)
	}
	e.checkOwners(r, byID, requests)
	e.checkFinal(r)
	slices.Sort(r.wrong)
	return r
}

// checkEvents holds what was emitted against the deliveries that it has.
func (e *evidence) checkEvents(r *report, events map[string]*emitted, byPair map[[2]string]*webhook.Delivery) {
	missed, perhapsMissed := map[string]int64{}, map[string]int64{}
	timelines := e.timelines()
	for _, m := range events {
		some := false
		for endpoint := range e.missed {
			d := byPair[[2]string{m.id, endpoint}]
			some = some || d != nil
			switch state := stateIn(timelines[endpoint], m.from, m.to); {
			case d != nil && !m.accepted && !m.unknown:
				r.complain(ghost, "%s was refused and has a delivery to %s", m.id, endpoint)
			case d != nil && (state == no || state == absent):
				r.complain(ghost, "%s has a delivery to %s, which did not queue then", m.id, endpoint)
			case d == nil && m.accepted && state == yes:
				r.complain(lost, "%s was accepted and has no delivery to %s", m.id, endpoint)
			case d == nil && m.accepted && state == no:
				missed[endpoint]++
			case d == nil && (state == no || state == perhaps):
				perhapsMissed[endpoint]++
			}
		}
		stored := some || e.stored[m.id]
		switch {
		case m.accepted:
			r.accepted++
			if !stored {
				r.complain(lost, "%s was accepted and is not stored", m.id)
			}
		case m.unknown:
			r.unknown++
		case stored:
			r.complain(ghost, "%s was refused and is stored", m.id)
		}
	}
	for endpoint, n := range e.missed {
		if n < missed[endpoint] || n > missed[endpoint]+perhapsMissed[endpoint] {
			r.complain(gap, "%s has missed %d to %d events, and its gaps count %d", endpoint, missed[endpoint], missed[endpoint]+perhapsMissed[endpoint], n)
		}
	}
}

// checkRequests holds what the receivers saw against the rows.
func (e *evidence) checkRequests(r *report, events map[string]*emitted, byID map[string]*webhook.Delivery) map[try]*request {
	requests := map[try]*request{}
	succeeded := map[string]bool{}
	sums := map[string]string{}
	for i := range e.requests {
		q := &e.requests[i]
		if isSeed(q.Event) {
			continue
		}
		r.requests++
		key := try{q.Delivery, q.Attempt}
		d := byID[q.Delivery]
		switch {
		case d != nil && d.EventID != q.Event:
			r.complain(ghost, "attempt %d at %s, of %s, was sent with %s", q.Attempt, q.Delivery, d.EventID, q.Event)
		case d == nil && events[q.Event] == nil:
			r.complain(ghost, "%s was sent and never emitted", q.Event)
		case d == nil:
			r.complain(unlogged, "%s was sent, and there is no delivery %s", q.Event, q.Delivery)
		case !slices.ContainsFunc(d.Attempts, func(a webhook.Attempt) bool { return a.Number == q.Attempt }):
			r.complain(unlogged, "attempt %d at %s was sent and has no row", q.Attempt, q.Delivery)
		case requests[key] != nil:
			r.complain(unlogged, "attempt %d at %s was sent more than once", q.Attempt, q.Delivery)
		}
		if succeeded[q.Delivery] {
			r.repeated++
		}
		succeeded[q.Delivery] = succeeded[q.Delivery] || q.Status/100 == 2
		if requests[key] == nil {
			requests[key] = q
		}
		if !q.Complete {
			continue
		}
		if q.Wrong != "" {
			r.complain(unverified, "attempt %d at %s: %s", q.Attempt, q.Delivery, q.Wrong)
		}
		if m := events[q.Event]; m != nil && (!slices.Contains(m.sums, q.Sum) || sums[q.Event] != "" && sums[q.Event] != q.Sum) {
			r.complain(body, "attempt %d at %s of %s", q.Attempt, q.Delivery, q.Event)
		}
		sums[q.Event] = q.Sum
	}
	return requests
}
