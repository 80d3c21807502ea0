//go:build linux

package crashtest

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/meshia/webhook"
)

// watched is a store that writes into the ledger who was given which lease, and which outcomes were taken.
type watched struct {
	webhook.Store
	ledger *Ledger
	once   sync.Once
}

// watchedWaker is watched for a store that has a Waker.
type watchedWaker struct {
	*watched
	webhook.Waker
}

// Watch returns the store with its leases and outcomes written into the ledger.
func Watch(s webhook.Store, l *Ledger) webhook.Store {
	w := &watched{Store: s, ledger: l}
	if waker, ok := s.(webhook.Waker); ok {
		return watchedWaker{w, waker}
	}
	return w
}

// A ledger that cannot be written makes the test worthless: the process ends.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "crashtest:", err)
		os.Exit(1)
	}
}

// own writes down the process's name in leases before the store can know it.
func (w *watched) own(owner string) {
	w.once.Do(func() { must(w.ledger.Write(Line{Op: OpOwner, Owner: owner})) })
}

func (w *watched) leases(list []webhook.Lease) {
	for i := range list {
		d := &list[i].Delivery
		must(w.ledger.Write(Line{Op: OpLease, Delivery: d.ID, Event: d.EventID, Endpoint: d.EndpointID, Attempt: d.AttemptCount, Token: list[i].Token}))
	}
}

// Enqueue implements [webhook.Outbox].
func (w *watched) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	if req.HandOver != nil {
		w.own(req.HandOver.Owner)
	}
	if req.Direct != nil {
		w.own(req.Direct.Owner)
	}
	res, err := w.Store.Enqueue(ctx, req)
	w.leases(res.Leases)
	return res, err
}

// Claim implements [webhook.Queue].
func (w *watched) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
	w.own(req.Owner)
	res, err := w.Store.Claim(ctx, req)
	w.leases(res.Leases)
	return res, err
}

// Record implements [webhook.Queue].
func (w *watched) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	line := func(op Op, i int) Line {
		o := &outcomes[i]
		return Line{Op: op, Delivery: o.DeliveryID, Attempt: o.Attempt.Number, Token: o.Token, Kind: string(o.Kind)}
	}
	for i := range outcomes {
		must(w.ledger.Write(line(OpRecording, i)))
	}
	applied, err := w.Store.Record(ctx, outcomes)
	for i := range applied {
		l := line(OpRecorded, i)
		l.Applied = applied[i]
		must(w.ledger.Write(l))
	}
	return applied, err
}
