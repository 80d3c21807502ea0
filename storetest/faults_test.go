package storetest

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/meshia/webhook"
)

// The suite is only worth something if a store that breaks a promise fails it. Each fault below breaks one, in an
// otherwise sound store, and names the group of cases that has to notice.
func TestFaultsAreNoticed(t *testing.T) {
	t.Parallel()
	for _, f := range slices.Concat(faults, upkeepFaults, limitFaults, statsFaults, replayFaults, stepFaults, boundFaults, roomFaults) {
		t.Run(f.group+"/"+f.name, func(t *testing.T) {
			t.Parallel()
			failed := false
			for _, group := range groups {
				if group.name != f.group {
					continue
				}
				for _, k := range group.cases {
					if !failed {
						failed = len(complaints(t, k, f.in)) > 0
					}
				}
			}
			if !failed {
				t.Error("no case noticed")
			}
		})
	}
}

// TestEveryCaseNoticesSomething is the other way around: a case that no fault of its group fails checks nothing. It is
// about the groups that have most of their faults in the lists other than faults.
func TestEveryCaseNoticesSomething(t *testing.T) {
	t.Parallel()
	for _, group := range groups {
		of := slices.DeleteFunc(slices.Concat(upkeepFaults, limitFaults, statsFaults, replayFaults, stepFaults, boundFaults, roomFaults), func(f fault) bool { return f.group != group.name })
		if len(of) == 0 || slices.Contains([]string{"context", "tenants", "values", "direct", "hand-over", "claim", "window", "endpoints"}, group.name) {
			continue
		}
		for _, k := range group.cases {
			t.Run(group.name+"/"+k.name, func(t *testing.T) {
				t.Parallel()
				if !slices.ContainsFunc(of, func(f fault) bool { return len(complaints(t, k, f.in)) > 0 }) {
					t.Error("no fault makes it fail")
				}
			})
		}
	}
}

func TestNothingIsNoticedWithoutAFault(t *testing.T) {
	t.Parallel()
	for _, group := range groups {
		for _, k := range group.cases {
			t.Run(group.name+"/"+k.name, func(t *testing.T) {
				t.Parallel()
				for _, complaint := range complaints(t, k, func(*faulty) {}) {
					t.Error(complaint)
				}
			})
		}
	}
}

// complaints runs one case against a store with a fault.
func complaints(t *testing.T, k kase, fault func(*faulty)) []string {
	var r recorder
	wrap := func(s webhook.Store) webhook.Store {
		f := &faulty{Store: s, seen: map[string]webhook.Lease{}, known: map[string]bool{}}
		fault(f)
		return f
	}
	synctest.Test(t, func(t *testing.T) {
		r.T = t
		cfg := Config{Synctest: true, Tick: 1e8, Bounded: func(_ *testing.T, pending int) webhook.Store {
			return wrap(webhook.NewMemoryStore(&webhook.MemoryConfig{MaxPending: pending}))
		}}
		done := make(chan struct{})
		go func() {
			defer close(done)
			k.run(&r, cfg.check(t, func(*testing.T) webhook.Store { return wrap(webhook.NewMemoryStore(nil)) }))
		}()
		<-done
	})
	return r.complaints
}

// recorder keeps what a case complains of. The case runs in a goroutine that FailNow and SkipNow end.
type recorder struct {
	*testing.T
	mu         sync.Mutex
	complaints []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complaints = append(r.complaints, fmt.Sprintf(format, args...))
}

func (r *recorder) FailNow() { runtime.Goexit() }
func (r *recorder) SkipNow() { runtime.Goexit() }
