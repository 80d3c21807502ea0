package webhook

import (
	"context"
	"fmt"
	"time"
)

// Record implements [Queue].
func (s *MemoryStore) Record(ctx context.Context, outcomes []Outcome) ([]bool, error) {
	for i := range outcomes {
		switch k := outcomes[i].Kind; k {
		case OutcomeDelivered, OutcomeRetry, OutcomeFailed, OutcomeDeferred, OutcomeInterrupted, OutcomeReleased:
		default:
			return nil, fmt.Errorf("webhook: memory store: unknown kind of outcome %q", k)
		}
	}
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	now := s.now()
	s.forget(now)

	applied := make([]bool, len(outcomes))
	for i := range outcomes {
		applied[i] = s.record(&outcomes[i], now)
	}
	return applied, nil
}

func (s *MemoryStore) record(o *Outcome, now memInstant) bool {
	d := s.tenant(o.Tenant).deliveries[o.DeliveryID]
	if d == nil || d.State != DeliveryLeased || d.token != o.Token {
		return false
	}
	ep := d.endpoint
	health := ep.Health
	if o.Judge != nil && !ep.deleted {
		health = o.Judge(health, now.wall)
	}

	s.unlease(d)
	row := o.Attempt
	row.Number = d.AttemptCount
	if d.event.stripped() {
		row = row.stripped()
	}
	switch o.Kind {
	case OutcomeDelivered:
		d.Attempts = append(d.Attempts, row)
		s.finish(d, DeliverySucceeded, "", now)
	case OutcomeFailed:
		d.Attempts = append(d.Attempts, row)
		s.finish(d, DeliveryFailed, o.Reason, now)
	case OutcomeRetry:
		d.Attempts = append(d.Attempts, row)
		s.again(d, o.Wait, now)
	case OutcomeDeferred:
		d.Attempts = append(d.Attempts, row)
		d.Deferred++
		if d.Kind.Once() {
			s.finish(d, DeliveryFailed, FailExhausted, now)
		} else {
			s.again(d, o.Wait, now)
		}
	case OutcomeInterrupted:
		s.interrupt(d, row, o.Wait, now)
	case OutcomeReleased:
		d.AttemptCount--
		if d.Kind.Once() {
			s.finish(d, DeliveryFailed, FailCancelled, now)
		} else {
			s.again(d, o.Wait, now)
		}
	}
	if o.Kind != OutcomeReleased {
		s.count(d, &row, now)
	}
	s.judged(ep, health, now)
	s.place(ep)
	return true
}

// interrupt logs an interrupted attempt, and tries again unless there were too many of them.
func (s *MemoryStore) interrupt(d *memDelivery, row Attempt, wait time.Duration, now memInstant) {
	d.Attempts = append(d.Attempts, row)
	d.Interrupted++
	if d.Kind.Once() || d.Interrupted >= MaxInterrupted {
		s.finish(d, DeliveryFailed, FailInterrupted, now)
		return
	}
	s.again(d, wait, now)
}

// again makes a delivery pending whose lease ended, unless its endpoint is no more or its contents are not: they are
// removed under a lease only where they were erased.
func (s *MemoryStore) again(d *memDelivery, wait time.Duration, now memInstant) {
	switch {
	case d.endpoint.deleted:
		s.finish(d, DeliveryFailed, FailEndpointDeleted, now)
	case d.event.stripped():
		s.finish(d, DeliveryFailed, FailErased, now)
	default:
		s.wait(d, wait, now)
	}
}

// finish gives a delivery that is in no queue its final state. The caller calls place.
func (s *MemoryStore) finish(d *memDelivery, state DeliveryState, reason FailReason, now memInstant) {
	d.State, d.Reason = state, reason
	d.NextAttemptAt = time.Time{}
	d.FinishedAt = now.wall
	d.finished = now.at
	s.close(d)
	s.relieve(d.endpoint, now)
	d.done = s.finished.PushBack(d)
	for s.finished.Len() > s.maxFinished {
		s.drop(s.finished.Front().Value.(*memDelivery))
	}
}

// close counts a delivery as neither pending nor leased any more.
func (s *MemoryStore) close(d *memDelivery) {
	s.live--
	d.endpoint.open.remove(d)
	if d.event.open--; d.event.open == 0 {
		s.rest(d.event)
	}
}

// rest notes that no delivery needs the event's contents for now.
func (s *MemoryStore) rest(e *memEvent) {
	if !e.stripped() {
		s.seq++
		s.resting.push(e.stored, s.seq, e, &e.pos)
	}
}

func (s *MemoryStore) unrest(e *memEvent) {
	if e.pos != memNowhere {
		s.resting.remove(e.pos)
		e.pos = memNowhere
	}
}
