package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"time"
)

// Deduper lets a [Receiver] handle each event once, though it may come more than once: after a lost answer, a
// redelivery, or two attempts at the same time. A run of a handler begins with Begin and ends with Done or Abort. An
// event whose handler failed is forgotten, so that the next attempt is handled.
//
// The context that Begin returns is the one that the handler gets, and the one that Done and Abort are called with,
// without its cancellation. A Deduper in a database puts its transaction there: the handler writes in it, Done
// commits, Abort rolls back, and the event's mark and its effect are one.
//
// Implementations must be safe for concurrent use. Keys are visible ASCII of at most 193 bytes. They are unique among
// the events of one sender: receivers for different senders need Dedupers of their own, or ones that keep the keys
// apart.
type Deduper interface {
	// Begin claims a key, for no longer than a lease: a process that died must not block the event for ever. Only with
	// DedupeBegun is there anything to end.
	Begin(ctx context.Context, key string) (context.Context, DedupeState, error)
	// Done says that the event was handled, and remembers its key. An error makes the receiver answer 500 and call
	// Abort.
	Done(ctx context.Context, key string) error
	// Abort gives the key back. It must not touch a claim that another run has taken since.
	Abort(ctx context.Context, key string) error
}

// DedupeState is what [Deduper].Begin found.
type DedupeState int

const (
	DedupeBegun   DedupeState = iota + 1 // the key is claimed: handle the event
	DedupeRunning                        // another run has it
	DedupeDone                           // it was handled
)

// NoDedupe is a [Deduper] that remembers nothing, for handlers that may run twice for one event, also at the same
// time.
type NoDedupe struct{}

// Begin lets every run begin.
func (NoDedupe) Begin(ctx context.Context, _ string) (context.Context, DedupeState, error) {
	return ctx, DedupeBegun, nil
}

// Done does nothing.
func (NoDedupe) Done(context.Context, string) error { return nil }

// Abort does nothing.
func (NoDedupe) Abort(context.Context, string) error { return nil }

// MemoryDeduperConfig configures [NewMemoryDeduper].
type MemoryDeduperConfig struct {
	// TTL is how long an event that was handled is remembered. Defaults to 24 hours.
	TTL time.Duration
	// MaxEntries is how many events are remembered; beyond that the oldest are forgotten. Defaults to 100 000, which
	// take about 25 MB.
	MaxEntries int
	// Lease is how long a handler may run before another attempt at its event may begin. Senders wait less for an
	// answer. Defaults to 1 minute.
	Lease time.Duration
}

// MemoryDeduper is a [Deduper] in the memory of one process: what it knows ends with the process, and other processes
// do not know it.
type MemoryDeduper struct {
	ttl, lease time.Duration
	maxEntries int

	mu      sync.Mutex
	entries map[dedupeSum]dedupeEntry
	done    []dedupeSum // the entries that are done, the oldest first
	runs    uint64
}

// dedupeSum is a key's hash: the memory it takes does not depend on what a sender put into an id.
type dedupeSum [sha256.Size]byte

type dedupeEntry struct {
	run   uint64    // the run that has it; 0: done
	until time.Time // when the lease ends, or when it is forgotten
}

// NewMemoryDeduper makes a MemoryDeduper. A nil config is all defaults, and so is a field that is not positive.
func NewMemoryDeduper(cfg *MemoryDeduperConfig) *MemoryDeduper {
	d := &MemoryDeduper{ttl: 24 * time.Hour, maxEntries: 100_000, lease: time.Minute, entries: make(map[dedupeSum]dedupeEntry)}
	if cfg == nil {
		return d
	}
	if cfg.TTL > 0 {
		d.ttl = cfg.TTL
	}
	if cfg.MaxEntries > 0 {
		d.maxEntries = cfg.MaxEntries
	}
	if cfg.Lease > 0 {
		d.lease = cfg.Lease
	}
	return d
}

type dedupeRunKey struct{}

// Begin claims a key.
func (d *MemoryDeduper) Begin(ctx context.Context, key string) (context.Context, DedupeState, error) {
	sum := dedupeSum(sha256.Sum256([]byte(key)))
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()

	d.forget(now)
	switch entry, known := d.entries[sum]; {
	case !known && !d.makeRoom(now):
		return ctx, 0, errors.New("webhook: too many events are being handled at once")
	case known && entry.run == 0:
		return ctx, DedupeDone, nil
	case known && now.Before(entry.until):
		return ctx, DedupeRunning, nil
	}
	d.runs++
	d.entries[sum] = dedupeEntry{d.runs, now.Add(d.lease)}
	return context.WithValue(ctx, dedupeRunKey{}, d.runs), DedupeBegun, nil
}

// Done remembers a key. It counts too where the lease is over: the event was handled.
func (d *MemoryDeduper) Done(_ context.Context, key string) error {
	sum := dedupeSum(sha256.Sum256([]byte(key)))
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()

	entry, known := d.entries[sum]
	if known && entry.run == 0 || !known && !d.makeRoom(now) { // not known: the lease was over, and another run began and failed
		return nil
	}
	d.entries[sum] = dedupeEntry{until: now.Add(d.ttl)}
	d.done = append(d.done, sum)
	return nil
}

// Abort gives a key back, if the run that it was claimed for still has it.
func (d *MemoryDeduper) Abort(ctx context.Context, key string) error {
	sum := dedupeSum(sha256.Sum256([]byte(key)))
	run, _ := ctx.Value(dedupeRunKey{}).(uint64)
	d.mu.Lock()
	defer d.mu.Unlock()

	if run != 0 && d.entries[sum].run == run {
		delete(d.entries, sum)
	}
	return nil
}

// forget drops what was handled longer than the TTL ago.
func (d *MemoryDeduper) forget(now time.Time) {
	for len(d.done) > 0 && !now.Before(d.entries[d.done[0]].until) {
		d.dropOldest()
	}
}

// makeRoom sees that one more entry fits. What runs is never dropped within its lease.
func (d *MemoryDeduper) makeRoom(now time.Time) bool {
	if len(d.entries) < d.maxEntries {
		return true
	}
	if len(d.done) > 0 {
		d.dropOldest()
		return true
	}
	for sum, entry := range d.entries { // all of them run; those whose lease is over were never ended
		if !now.Before(entry.until) {
			delete(d.entries, sum)
		}
	}
	return len(d.entries) < d.maxEntries
}

func (d *MemoryDeduper) dropOldest() {
	delete(d.entries, d.done[0])
	d.done = d.done[1:] // append moves what is left to a new array when it reaches the end of this one
}

// dedupeKey is what a receiver knows an event by. Where the id is not signed the body is part of the key: otherwise
// whoever captured one event could send it with the id of another, and the other, when it comes, would be taken for a
// duplicate.
func (v *Verifier) dedupeKey(e Event) string {
	if v.standard {
		return e.ID
	}
	sum := sha256.Sum256(e.Body)
	return e.ID + "." + hex.EncodeToString(sum[:])
}
