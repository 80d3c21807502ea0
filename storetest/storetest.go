// Package storetest checks that a [webhook.Store] keeps its contract, as testing/slogtest does for handlers of
// log/slog. A store's own test is
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) webhook.Store { return open(t) })
//	}
//
// Each case quotes the sentence of the contract that it checks, and a failure prints it.
package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshia/webhook"
)

// Config is what a store's author can say about the store. The zero value suits a store with a database behind it.
type Config struct {
	// Synctest runs each case, the opening of its store included, in a bubble of testing/synctest, where waiting takes
	// no time. It suits a store that never waits for anything outside of the bubble, such as a socket.
	Synctest bool
	// Tick is how long leases and waits are whose end a case waits for; some cases wait for a few of them. Nothing
	// depends on a call being quicker than that. Defaults to 100 ms.
	Tick time.Duration
	// Handle opens another handle on the data of store, as another process has one. Cases with several dispatchers use
	// both. Without it they share the one.
	Handle func(t *testing.T, store webhook.Store) webhook.Store
	// Backdate makes each hour that the store has for Stats begin so many hours earlier, as if they had passed. Without
	// it, and without Synctest, what is promised of hours gone by is not checked.
	Backdate func(t *testing.T, store webhook.Store, hours int)
	// Bounded opens a new, empty store with room for that many pending deliveries. Without it what is promised of full
	// stores is not checked.
	Bounded func(t *testing.T, pending int) webhook.Store
}

// Run checks the stores that open returns. It is called once for each case, several of which run in parallel, and must
// return a new, empty store each time; what is to be closed goes into t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) webhook.Store) {
	t.Helper()
	Config{}.Run(t, open)
}

// Run is the function Run with a configuration.
func (cfg Config) Run(t *testing.T, open func(t *testing.T) webhook.Store) {
	t.Helper()
	if cfg.Tick <= 0 {
		cfg.Tick = 100 * time.Millisecond
	}
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			for _, k := range group.cases {
				t.Run(k.name, func(t *testing.T) {
					t.Parallel()
					cfg.within(t, func(t *testing.T) { k.run(t, cfg.check(t, open)) })
				})
			}
		})
	}
}

// within runs f as the configuration says: in a bubble or not.
func (cfg Config) within(t *testing.T, f func(t *testing.T)) {
	if cfg.Synctest {
		synctest.Test(t, f)
		return
	}
	f(t)
}

func (cfg Config) check(t *testing.T, open func(t *testing.T) webhook.Store) *check {
	c := &check{tick: cfg.Tick}
	if cfg.Bounded != nil {
		c.bounded = func(pending int) webhook.Store { return cfg.Bounded(t, pending) }
	}
	c.store = open(t)
	switch {
	case cfg.Synctest:
		c.later = func(hours int) { time.Sleep(time.Duration(hours) * time.Hour) }
	case cfg.Backdate != nil:
		c.later = func(hours int) { cfg.Backdate(t, c.store, hours) }
	}
	c.other = c.store
	if cfg.Handle != nil {
		c.other = cfg.Handle(t, c.store)
	}
	return c
}

// kase is one case. promise is a sentence of the contract, word for word.
type kase struct {
	name, promise string
	f             func(c *check)
}

func (k kase) run(t tb, c *check) {
	t.Helper()
	c.tb = t
	c.promise = k.promise
	k.f(c)
}

var groups = []struct {
	name  string
	cases []kase
}{
	{"concurrency", concurrencyCases},
	{"context", contextCases},
	{"clock", clockCases},
	{"tenants", tenantCases},
	{"values", valueCases},
	{"enqueue", enqueueCases},
	{"direct", slices.Concat(directCases, directFullCases)},
	{"hand-over", handOverCases},
	{"claim", slices.Concat(claimCases, noRoomCases)},
	{"skip", skipCases},
	{"room", roomCases},
	{"window", windowCases},
	{"order", orderCases},
	{"rate", rateCases},
	{"lost leases", lostCases},
	{"age", ageCases},
	{"record", recordCases},
	{"deferred", deferredCases},
	{"judge", judgeCases},
	{"endpoints", slices.Concat(endpointCases, deleteCases)},
	{"history", historyCases},
	{"gaps", gapCases},
	{"backlog", backlogCases},
	{"stats", statsCases},
	{"prune", slices.Concat(pruneCases, pruneReplayCases, pruneEndpointCases, pruneOneCases)},
	{"prune bodies", bodyCases},
	{"erase", eraseCases},
	{"erase a tenant", slices.Concat(eraseTenantCases, eraseOneCases)},
	{"list tenants", listTenantsCases},
	{"replay", replayCases},
}

// tb is what cases need of a testing.T.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
	SkipNow()
	Context() context.Context
}

// check is one run of one case: a new store and shorthands that fail with the case's promise.
type check struct {
	tb
	promise      string
	store, other webhook.Store
	tick         time.Duration
	bounded      func(pending int) webhook.Store
	later        func(hours int) // lets hours of Stats pass; nil: it cannot be done
	serial       int
}

func (c *check) failf(format string, args ...any) {
	c.Helper()
	c.Errorf("%s\n\tpromised: %s", fmt.Sprintf(format, args...), c.promise)
	c.FailNow()
}

func (c *check) want(ok bool, format string, args ...any) {
	c.Helper()
	if !ok {
		c.failf(format, args...)
	}
}

func equal[T comparable](c *check, what string, got, want T) {
	c.Helper()
	c.want(got == want, "%s: got %v, want %v", what, got, want)
}

func (c *check) ok(err error) {
	c.Helper()
	c.want(err == nil, "unexpected error: %v", err)
}
