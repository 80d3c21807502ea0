package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/meshia/webhook"
	"github.com/stretchr/testify/require"
)

// TestMemoryStoreAgainstAModel does random things and holds the store's bookkeeping against what must be true of it at
// any time.
func TestMemoryStoreAgainstAModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inMemory(t, &webhook.MemoryConfig{MaxPending: 60, MaxFinished: 20, FinishedAge: 3 * time.Hour}, func(m *memory) {
				randomly(m, rand.New(rand.NewPCG(seed, 1)), 3+int(seed))
			})
		})
	}
}

func randomly(m *memory, r *rand.Rand, bound int) {
	ctx := context.Background()
	var held []webhook.Lease
	due := map[string]time.Time{} // when a delivery may be handed out again
	kinds := []webhook.OutcomeKind{
		webhook.OutcomeDelivered, webhook.OutcomeRetry, webhook.OutcomeFailed, webhook.OutcomeDeferred, webhook.OutcomeInterrupted, webhook.OutcomeReleased,
	}
	results := map[webhook.OutcomeKind]webhook.AttemptResult{
		webhook.OutcomeDelivered: webhook.AttemptDelivered, webhook.OutcomeRetry: webhook.AttemptFailed, webhook.OutcomeFailed: webhook.AttemptFailed,
		webhook.OutcomeDeferred: webhook.AttemptFailed, webhook.OutcomeInterrupted: webhook.AttemptInterrupted,
	}
	claimed := map[string][]time.Time{} // the leases of each endpoint that Claim gave
	missing := map[string]bool{}        // endpoints with a gap for their backlog, by who was named
	states := []webhook.EndpointState{webhook.EndpointActive, webhook.EndpointActive, webhook.EndpointPaused, webhook.EndpointDisabled, webhook.EndpointPending}
	endpoints := 0
	take := func(leases []webhook.Lease) {
		for _, l := range leases {
			require.False(m, due[l.Delivery.ID].After(time.Now()), "a delivery was handed out before it was due, or twice")
			due[l.Delivery.ID] = time.Now().Add(l.Term)
			held = append(held, l)
		}
	}
	for range 600 {
		id := fmt.Sprint(r.IntN(endpoints + 1))
		switch r.IntN(14) {
		case 0:
			if endpoints < 12 {
				id := fmt.Sprint(endpoints)
				m.add(id, webhook.Health{Window: 1 + r.IntN(3), Slow: r.IntN(3) == 0}, rated(float64(r.IntN(3))/100, r.IntN(4)))
				claimed[id] = nil
				endpoints++
			}
		case 1:
			if r.IntN(5) == 0 {
				_ = m.DeleteEndpoint(ctx, "t", id)
			}
		case 2:
			state, pause := states[r.IntN(len(states))], time.Duration(r.IntN(100))*time.Second
			_, _ = m.JudgeEndpoint(ctx, "t", id, func(h webhook.Health, now time.Time) webhook.Health {
				h.State, h.PausedUntil, h.Slow, h.Window = state, now.Add(pause), r.IntN(3) == 0, r.IntN(4)
				return h
			})
		case 3, 4:
			m.n++
			req := webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{{ID: fmt.Sprint(m.n), Type: "a", Body: []byte("{}")}}, MaxPending: bound}
			switch r.IntN(4) {
			case 0:
				req.Direct = &webhook.Direct{EndpointID: id, Kind: []webhook.DeliveryKind{webhook.KindTest, webhook.KindRedelivery}[r.IntN(2)], Term: time.Minute}
			case 1, 2:
				req.HandOver = &webhook.HandOver{Term: time.Minute, Max: r.IntN(4)}
			}
			if result, err := m.Enqueue(ctx, req); err == nil {
				take(result.Leases)
				for _, l := range result.Leases {
					require.True(m, req.Direct != nil || l.Endpoint.Rate == 0, "a rate keeps a hand-over back")
				}
				named(m, missing, result.Backlogged)
			} else if req.Direct == nil || !errors.Is(err, webhook.ErrNotFound) {
				require.ErrorIs(m, err, webhook.ErrStoreFull)
			}
		case 5, 6, 7:
			req := webhook.ClaimRequest{Term: time.Duration(1+r.IntN(90)) * time.Second, Max: r.IntN(6), MaxSlow: r.IntN(3), MaxAge: 30 * time.Minute, MaxPending: bound}
			for range max(0, r.IntN(8)-4) { // some of them twice
				req.Skip = append(req.Skip, webhook.EndpointRef{Tenant: "t", ID: fmt.Sprint(r.IntN(endpoints + 1))})
			}
			req.MaxTenant = max(0, r.IntN(8)-4)
			if r.IntN(3) == 0 {
				req.Tenants = map[string]int{"t": r.IntN(4), "u": 0}
			}
			c, err := m.Claim(ctx, req)
			require.NoError(m, err)
			room := min(req.Max, req.Room("t"))
			require.LessOrEqual(m, len(c.Leases), room)
			if len(c.Leases) == req.Room("t") {
				require.NotZero(m, c.Next, "a tenant that has all that it may is waited for")
			}
			for _, l := range c.Leases {
				require.NotContains(m, req.Skip, webhook.EndpointRef{Tenant: "t", ID: l.Delivery.EndpointID})
				claimed[l.Delivery.EndpointID] = append(claimed[l.Delivery.EndpointID], time.Now())
				keepsPace(m, l.Endpoint.Pace(), claimed[l.Delivery.EndpointID])
			}
			take(c.Leases)
			named(m, missing, c.Backlogged)
			bounded(m, bound)
		case 8:
			for range min(len(held), r.IntN(6)) {
				i := r.IntN(len(held))
				l := held[i]
				held = append(held[:i], held[i+1:]...)
				wait := time.Duration(r.IntN(60)) * time.Second
				o := webhook.Outcome{Tenant: "t", DeliveryID: l.Delivery.ID, Token: l.Token, Kind: kinds[r.IntN(len(kinds))], Wait: wait}
				o.Attempt.Result = results[o.Kind]
				applied, err := m.Record(ctx, []webhook.Outcome{o})
				require.NoError(m, err)
				if applied[0] {
					due[l.Delivery.ID] = time.Now().Add(wait)
				}
			}
		case 9:
			time.Sleep(time.Duration(r.IntN(120)) * time.Second)
		case 10:
			prunes(m, webhook.PruneRequest{
				Deliveries: time.Duration(r.IntN(20)) * time.Minute, Bodies: time.Duration(r.IntN(10)) * time.Minute, Max: r.IntN(8),
			})
		case 11:
			page, err := m.Deliveries(ctx, "t", webhook.DeliveryFilter{})
			require.NoError(m, err)
			if n := len(page.Deliveries); n > 0 {
				erases(m, page.Deliveries[r.IntN(n)])
			}
		case 12:
			if r.IntN(6) == 0 {
				more, err := m.EraseTenant(ctx, "t", r.IntN(40))
				require.NoError(m, err)
				if !more {
					require.Empty(m, m.Sizes())
					endpoints = 0
				}
			}
		case 13:
			replays(m, r)
		}
		consistent(m)
		queues(m, bound, missing)
	}
}

// keepsPace holds the times of an endpoint's leases, the last of which is new, against its rate.
func keepsPace(m *memory, p webhook.Pace, times []time.Time) {
	m.Helper()
	if p.Interval == 0 {
		return
	}
	last := times[len(times)-1]
	for i, at := range times {
		require.LessOrEqual(m, len(times)-i, p.Burst+int(last.Sub(at)/p.Interval), "leases in %v", last.Sub(at))
	}
}

// named notes who has a gap for their backlog; consistent finds out that nobody else has, and that they are named once.
func named(m *memory, missing map[string]bool, refs []webhook.EndpointRef) {
	m.Helper()
	for _, ref := range refs {
		require.Equal(m, "t", ref.Tenant)
		require.False(m, missing[ref.ID], "endpoint %s is named, and was before", ref.ID)
		missing[ref.ID] = true
	}
}

// bounded looks for endpoints over the bound without an open gap, of which a claim leaves none.
func bounded(m *memory, bound int) {
	m.Helper()
	list, err := m.Endpoints(context.Background(), "t")
	require.NoError(m, err)
	for _, e := range list {
		s, err := m.Stats(context.Background(), "t", e.ID, time.Time{})
		require.NoError(m, err)
		if s.Pending >= int64(bound) {
			gaps := m.gaps(e.ID)
			require.NotEmpty(m, gaps)
			require.Zero(m, gaps[0].To)
		}
	}
}

// queues holds what Stats and Gaps say of each endpoint against its deliveries.
func queues(m *memory, bound int, missing map[string]bool) {
	m.Helper()
	page, err := m.Deliveries(context.Background(), "t", webhook.DeliveryFilter{})
	require.NoError(m, err)
	want := map[string]webhook.Stats{}
	for _, d := range page.Deliveries {
		s := want[d.EndpointID]
		if !d.State.Final() {
			s.Pending++
		}
		if d.State == webhook.DeliveryPending {
			s.OldestPending = d.CreatedAt // the newest come first
			if s.NextAttempt.IsZero() || d.NextAttemptAt.Before(s.NextAttempt) {
				s.NextAttempt = d.NextAttemptAt
			}
		}
		want[d.EndpointID] = s
	}
	list, err := m.Endpoints(context.Background(), "t")
	require.NoError(m, err)
	open := map[string]bool{}
	weighed := 0
	for _, e := range list {
		s, err := m.Stats(context.Background(), "t", e.ID, time.Time{})
		require.NoError(m, err)
		s.Hours = nil
		require.Equal(m, want[e.ID], s)
		gaps := m.gaps(e.ID)
		missed := len(gaps) > 0 && gaps[0].To.IsZero()
		require.True(m, missed || e.Health.State.Queues())
		if missed && gaps[0].Reason == webhook.GapBacklog {
			open[e.ID] = true
			require.True(m, e.Health.State.Queues())
			require.Greater(m, 10*s.Pending, 9*int64(bound), "a gap is open, and the backlog worked off")
			require.True(m, missing[e.ID], "a gap is open, and nobody was told")
		}
		if e.Health.State.Queues() && s.Pending > 0 {
			weighed++
		}
	}
	require.Equal(m, weighed, m.Sizes()["weighed"])
	clear(missing)
	for id := range open {
		missing[id] = true
	}
}

func prunes(m *memory, req webhook.PruneRequest) {
	m.Helper()
	before := m.Sizes()
	now := time.Now()
	result, err := m.Prune(context.Background(), req)
	require.NoError(m, err)
	after := m.Sizes()
	require.Equal(m, before["deliveries"]-after["deliveries"], result.Deliveries)
	require.Equal(m, before["events"]-after["events"], result.Events)
	require.LessOrEqual(m, result.Bodies, before["resting"]-after["resting"], "one that went with its delivery is not counted")
	require.Equal(m, before["live"], after["live"])
	if result.More || req.Deliveries == 0 {
		return
	}
	page, err := m.Deliveries(context.Background(), "t", webhook.DeliveryFilter{})
	require.NoError(m, err)
	for _, d := range page.Deliveries {
		require.False(m, d.State.Final() && now.Sub(d.FinishedAt) > req.Deliveries, "nothing is left that is older")
	}
}

func erases(m *memory, d webhook.Delivery) {
	m.Helper()
	require.NoError(m, m.EraseDelivery(context.Background(), "t", d.ID))
	e, err := m.Event(context.Background(), "t", d.EventID)
	if err != nil { // it fell to MaxFinished
		require.ErrorIs(m, err, webhook.ErrNotFound)
		return
	}
	require.Empty(m, e.Body)
	page, err := m.Deliveries(context.Background(), "t", webhook.DeliveryFilter{EventID: d.EventID, State: webhook.DeliveryPending})
	require.NoError(m, err)
	require.Empty(m, page.Deliveries)
}

// consistent holds what the store says of its deliveries against its own counts.
func consistent(m *memory) {
	m.Helper()
	n := m.Sizes()
	counts := map[webhook.DeliveryState]int{}
	flight := map[string]int{}
	page, err := m.Deliveries(context.Background(), "t", webhook.DeliveryFilter{})
	require.NoError(m, err)
	require.Empty(m, page.NextCursor)
	for _, d := range page.Deliveries {
		counts[d.State]++
		if d.State == webhook.DeliveryLeased {
			if d.Kind == webhook.KindEvent { // the others need no room
				flight[d.EndpointID]++
			}
			require.Len(m, d.Attempts, d.AttemptCount-1)
		} else {
			require.Len(m, d.Attempts, d.AttemptCount)
		}
	}
	require.Equal(m, n["pending"], counts[webhook.DeliveryPending])
	require.Equal(m, n["queued"], counts[webhook.DeliveryPending])
	require.Equal(m, n["leases"], counts[webhook.DeliveryLeased])
	require.Equal(m, n["live"], n["pending"]+n["leases"])
	require.Equal(m, n["finished"], counts[webhook.DeliverySucceeded]+counts[webhook.DeliveryFailed])
	require.Equal(m, n["deliveries"], len(page.Deliveries))
	require.Equal(m, n["resting"], n["contents at rest"])
	require.Equal(m, n["gaps"], n["closed gaps"])
	require.Equal(m, n["hours"], n["endpoint hours"])
	require.Equal(m, n["live"], n["open"])
	require.Zero(m, n["events out of order"])
	require.LessOrEqual(m, n["live"], 60)
	require.LessOrEqual(m, n["finished"], 20)
	require.LessOrEqual(m, n["idle"], 20)
	for id, leases := range flight {
		require.LessOrEqual(m, leases, 3, "leases of %s: no window was ever larger", id)
	}
}
