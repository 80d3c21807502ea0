//go:build linux

package crashtest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// evidence is all that is known when everything is quiet.
type evidence struct {
	lines    []Line    // of all processes, by time
	requests []request // that the receivers saw
	moved    map[try]time.Time
	attempts int // that may end by themselves, of one delivery

	before    []webhook.Delivery // the log before the last process ran; nil: not known
	after     []webhook.Delivery // and now
	endpoints map[string]webhook.EndpointState
	stored    map[string]bool  // of the ledgers' events that have no delivery: whether the store has them
	missed    map[string]int64 // what the gaps of an endpoint count
}

// snapshot reads the log.
func snapshot(t testing.TB, s webhook.Store) (all []webhook.Delivery) {
	t.Helper()
	filter := webhook.DeliveryFilter{Limit: webhook.MaxPage}
	for {
		page, err := s.Deliveries(context.Background(), "", filter)
		require.NoError(t, err)
		all = append(all, page.Deliveries...)
		if page.NextCursor == "" {
			return all
		}
		filter.Cursor = page.NextCursor
	}
}

// collect gathers the evidence of a store's contents and of what the ledgers say.
func collect(t testing.TB, s webhook.Store, lines []Line, requests []request, moved map[try]time.Time, attempts int, before []webhook.Delivery) *evidence {
	t.Helper()
	e := &evidence{
		lines: slices.Clone(lines), requests: requests, moved: moved, attempts: attempts, before: before, after: snapshot(t, s),
		endpoints: map[string]webhook.EndpointState{}, stored: map[string]bool{}, missed: map[string]int64{},
	}
	slices.SortStableFunc(e.lines, func(a, b Line) int { return a.At.Compare(b.At) })
	endpoints, err := s.Endpoints(context.Background(), "")
	require.NoError(t, err)
	for _, p := range endpoints {
		e.endpoints[p.ID] = p.Health.State
	}
	delivered := map[string]bool{}
	for i := range e.after {
		delivered[e.after[i].EventID] = true
	}
	for _, l := range e.lines {
		switch l.Op {
		case OpEmit:
			if _, asked := e.stored[l.Event]; delivered[l.Event] || asked {
				continue
			}
			_, err := s.Event(context.Background(), "", l.Event)
			if !errors.Is(err, webhook.ErrNotFound) {
				require.NoError(t, err)
			}
			e.stored[l.Event] = err == nil
		case OpState, OpChanging:
			if _, asked := e.missed[l.Endpoint]; asked {
				continue
			}
			gaps, err := s.Gaps(context.Background(), "", l.Endpoint)
			require.NoError(t, err)
			e.missed[l.Endpoint] = 0
			for _, g := range gaps {
				e.missed[l.Endpoint] += g.Count
			}
		}
	}
	return e
}

// judge holds the evidence of the crew's test together and demands that nothing is wrong with it.
func (c *crew) judge(before []webhook.Delivery) *report {
	c.t.Helper()
	store := c.db.open(c.t)
	defer c.db.close(c.t, store)
	e := collect(c.t, store, c.lines(), c.receiver.seen(), c.moved, len(c.config.Retries)+1, before)
	r := e.check()
	c.checkSeed(store, e)
	for i, text := range r.wrong {
		if i == 20 {
			c.t.Errorf("and %d more", len(r.wrong)-i)
			break
		}
		c.t.Error(text)
	}
	return r
}

// snapshot is the log as it is now.
func (c *crew) snapshot() []webhook.Delivery {
	c.t.Helper()
	store := c.db.open(c.t)
	defer c.db.close(c.t, store)
	return snapshot(c.t, store)
}

// checkSeed demands that what was old is gone, if the database had it: wholly by now, and by halves at no time.
func (c *crew) checkSeed(s webhook.Store, e *evidence) {
	c.t.Helper()
	for i := range e.before {
		if d := &e.before[i]; isSeed(d.EventID) && len(d.Attempts) != 1 {
			c.t.Errorf("HALF: the delivery of %s is there, and %d of its attempts", d.EventID, len(d.Attempts))
		}
	}
	if len(e.seeds(e.before)) == 0 {
		return // an empty database, or one from before
	}
	require.Equal(c.t, []string{staleEvent}, e.seeds(e.after), "what was removed, and what was not")
	_, err := s.Event(context.Background(), "", oldEvent)
	require.ErrorIs(c.t, err, webhook.ErrNotFound)
	stale, err := s.Event(context.Background(), "", staleEvent)
	require.NoError(c.t, err)
	require.Empty(c.t, stale.Body)
}

func (e *evidence) seeds(log []webhook.Delivery) (ids []string) {
	for i := range log {
		if isSeed(log[i].EventID) {
			ids = append(ids, log[i].EventID)
		}
	}
	slices.Sort(ids)
	return ids
}
