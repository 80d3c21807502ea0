package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/meshia/webhook/internal/failpoint"
)

// settled is an outcome on its way to the store.
type settled struct {
	Outcome
	lease   *Lease
	held    bool // run.hold counts its slot
	applied bool // by the store, which recorded it
	// before and after are the endpoint's health around the outcome, if it was judged by it: else both are zero.
	before, after Health
}

// recorder writes outcomes in batches, since a store takes many as fast as one. There is no goroutine for it: the
// first who comes writes, for himself and for those who come while he does.
type recorder struct {
	run     *run
	mu      sync.Mutex
	queue   []settled
	spare   []settled // the batch before, to be filled again
	writing bool
	writes  bounded // for whoever is writing
}

// add records an outcome, or leaves it to whoever is recording. The job that it may return is the caller's to do.
func (c *recorder) add(s settled) (next job, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, s)
	if c.writing {
		return next, false
	}
	c.writing = true
	for len(c.queue) > 0 {
		batch := c.queue
		c.queue = c.spare[:0]
		c.mu.Unlock()
		if ok { // claimed for this worker, who is needed here
			c.run.start([]Lease{*next.Lease}, next.asked)
		}
		next, ok = c.run.finish(batch)
		c.mu.Lock()
		clear(batch)
		c.spare = batch
	}
	c.writing = false
	return next, ok
}

// slowStore is from when a store is slow enough that a claim and the next batch of outcomes go to it side by side. To
// one that is quicker the worker goes by itself, which saves the others' being woken.
const slowStore = time.Millisecond

// finish records a batch, frees its slots, and claims for them at once if more is waiting. Of what it gets it returns
// one job and hands the others to other workers.
func (r *run) finish(batch []settled) (next job, ok bool) {
	start := time.Now()
	r.recorder.writes.open()
	left := r.tryRecord(r.recorder.writes.ctx, batch)
	r.recorder.writes.close()
	failpoint.Pass(failpoint.K16)
	if r.cfg.Hooks == nil {
		r.giveBack(batch, left...)
	} else {
		kept, tell := r.spread(batch, left)
		r.giveBack(batch, append(kept, left...)...)
		tell()
	}
	if len(left) > 0 { // on a goroutine of its own, so that nobody waits behind them; their slots bound how many there are
		r.workers.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), leaseMargin)
			defer cancel()
			r.keepRecording(ctx, left)
			kept, tell := r.spread(left, nil)
			r.giveBack(left, kept...)
			tell()
			r.spared()
		})
	}

	r.mu.Lock()
	waiting := r.waiting && !r.closing
	r.mu.Unlock()
	if !waiting || r.claiming.Err() != nil {
		return next, false
	}
	if time.Since(start) > slowStore { // the claim loop does it, beside the next batch
		r.open()
		return next, false
	}
	leases, asked, wait := r.claim(r.claiming)
	r.mu.Lock()
	early := time.Now().Add(wait).Before(r.look)
	r.mu.Unlock()
	if early { // what waits behind a window that was full falls due before the claim loop would look
		r.wake()
	}
	if len(leases) == 0 {
		return next, false
	}
	r.start(leases[1:], asked)
	return job{&leases[0], asked}, true
}

// record writes outcomes, until ctx ends. What cannot be written is left to the end of its lease, and sent again.
func (e *engine) record(ctx context.Context, batch []settled) {
	if err := e.recordOnce(ctx, batch); err != nil {
		e.warnNotRecorded(ctx, batch, err)
		e.keepRecording(ctx, batch)
	}
}

func (e *engine) warnNotRecorded(ctx context.Context, batch []settled, err error) {
	e.log.LogAttrs(ctx, slog.LevelWarn, "webhook: recording outcomes failed, trying again", slog.Int("outcomes", len(batch)), slog.Any("error", err))
}

// giveBack frees the slots of a batch, but for those of the outcomes that are left.
func (r *run) giveBack(batch []settled, left ...settled) {
	again := false
	for i := range batch {
		s := &batch[i]
		again = again || s.Kind != OutcomeDelivered && s.Kind != OutcomeFailed || s.before.State != s.after.State
		if slices.ContainsFunc(left, func(l settled) bool { return l.lease == s.lease }) {
			continue
		}
		if s.held {
			r.hold(s.lease.Endpoint, -1)
		}
		r.vacate(s.lease)
	}
	if again { // it falls due at a time that the claim loop does not know of
		r.wake()
	}
}

// tryRecord writes outcomes together and, if the store refuses them, each alone, so that one which cannot be stored
// keeps no other from it. It returns those that the store refused.
func (e *engine) tryRecord(ctx context.Context, batch []settled) (left []settled) {
	err := e.recordOnce(ctx, batch)
	if err == nil {
		return nil
	}
	e.warnNotRecorded(ctx, batch, err)
	if len(batch) == 1 {
		return slices.Clone(batch)
	}
	for i := range batch {
		if e.recordOnce(ctx, batch[i:i+1]) != nil {
			left = append(left, batch[i])
		}
	}
	return left
}

// keepRecording tries outcomes that the store refused, each by itself so that none waits for another, until all are
// written or ctx ends.
func (e *engine) keepRecording(ctx context.Context, left []settled) {
	var all sync.WaitGroup
	for i := range left {
		all.Go(func() {
			if err := retryStore(ctx, func() error { return e.recordOnce(ctx, left[i:i+1]) }, func(error) {}); err != nil {
				e.log.LogAttrs(ctx, slog.LevelError, "webhook: an outcome could not be recorded; the delivery will be sent again",
					slog.String("delivery", left[i].DeliveryID), slog.Int("attempt", left[i].Attempt.Number), slog.Any("error", err))
			}
		})
	}
	all.Wait()
}

func (e *engine) recordOnce(ctx context.Context, batch []settled) error {
	outcomes := make([]Outcome, len(batch))
	for i := range batch {
		s := &batch[i]
		outcomes[i] = s.Outcome
		if judge := s.Outcome.Judge; judge != nil {
			outcomes[i].Judge = func(h Health, now time.Time) Health {
				s.before, s.after = h, judge(h, now) // a store may call it again, if its transaction has to be repeated: the last call counts
				return s.after
			}
		}
	}
	applied, err := e.store.Record(ctx, outcomes)
	if err != nil {
		return err
	}
	if len(applied) != len(batch) {
		return fmt.Errorf("webhook: the store answered %d of %d outcomes", len(applied), len(batch))
	}
	for i := range batch {
		batch[i].applied = applied[i]
		e.counts.add(batch[i].Kind, applied[i])
		e.tell(ctx, &batch[i], applied[i])
	}
	return nil
}

// tell logs what an outcome changed.
func (e *engine) tell(ctx context.Context, s *settled, applied bool) {
	about := func(level slog.Level, message string, more ...slog.Attr) {
		if e.log.Enabled(ctx, level) {
			e.log.LogAttrs(ctx, level, message, append([]slog.Attr{
				slog.String("delivery", s.DeliveryID), slog.String("endpoint", s.EndpointID), slog.String("event", s.lease.Event.ID),
				slog.String("type", s.lease.Event.Type), slog.Int("attempt", s.lease.Delivery.AttemptCount),
			}, more...)...)
		}
	}
	if !applied {
		about(slog.LevelWarn, "webhook: a lease was lost before its outcome was recorded; the delivery was given to another owner")
		return
	}
	result := []slog.Attr{slog.Duration("latency", s.Attempt.Latency)}
	if s.Attempt.Error != "" {
		result = append(result, slog.String("error", string(s.Attempt.Error)))
	}
	if s.Attempt.Status != 0 {
		result = append(result, slog.Int("status", s.Attempt.Status))
	}
	switch s.Kind {
	case OutcomeDelivered:
		about(slog.LevelDebug, "webhook: delivered", result...)
	case OutcomeRetry:
		about(slog.LevelInfo, "webhook: attempt failed, will be repeated", append(result, slog.Duration("wait", s.Wait))...)
	case OutcomeFailed:
		result = append(result, slog.String("reason", string(s.Reason)))
		if kind := s.lease.Delivery.Kind; kind.Once() { // somebody is looking at it
			about(slog.LevelInfo, "webhook: "+string(kind)+" failed", result...)
		} else {
			about(slog.LevelWarn, "webhook: delivery failed", result...)
		}
	case OutcomeDeferred:
		about(slog.LevelInfo, "webhook: the probe of a paused endpoint failed", result...)
	case OutcomeInterrupted:
		about(slog.LevelWarn, "webhook: attempt interrupted", result...)
	case OutcomeReleased:
		about(slog.LevelDebug, "webhook: released unsent")
	}
	if s.before.State != s.after.State {
		change := []slog.Attr{slog.String("from", string(s.before.State)), slog.String("to", string(s.after.State))}
		if s.after.Reason != "" {
			change = append(change, slog.String("reason", string(s.after.Reason)))
		}
		level := slog.LevelInfo
		if s.after.State == EndpointPaused || s.after.State == EndpointDisabled {
			level = slog.LevelWarn
		}
		about(level, "webhook: endpoint changed its state", change...)
	}
}
