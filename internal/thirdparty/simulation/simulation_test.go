package simulation

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/meshia/webhook"
)

func TestMain(m *testing.M) {
	setFlag("rapid.steps", 46) // before the command line is read, which may say otherwise
	goleak.VerifyTestMain(m)
}

// totals are what all runs did.
var totals struct {
	seeds, events, attempts, interruptions, crashes, removed atomic.Int64
	probes, pauses, disabled, backlogs, hooks                atomic.Int64
	replayed, skipped                                        atomic.Int64 // events
	simulated                                                atomic.Int64 // seconds: many runs of days do not fit into nanoseconds
}

// spread is a policy with jitter that is a pure function, so that the model knows the waits too.
var spread = webhook.RetryFunc(func(n int, failed webhook.Attempt) (time.Duration, bool) {
	if n > 3 {
		return 0, false
	}
	wait := []time.Duration{10 * time.Second, time.Minute, 6 * time.Minute}[n-1]
	return wait*8/10 + time.Duration(failed.StartedAt.UnixNano()%int64(wait*4/10)), true
})

func draw(t *rapid.T) settings {
	s := standard()
	s.Seed = rapid.Uint64().Draw(t, "seed")
	s.Poll = rapid.SampledFrom([]time.Duration{10 * time.Minute, time.Minute, 15 * time.Second}).Draw(t, "poll")
	s.Drain = rapid.SampledFrom([]time.Duration{20 * time.Second, time.Second}).Draw(t, "drain")
	s.MaxAge = rapid.SampledFrom([]time.Duration{5 * 24 * time.Hour, 90 * time.Minute}).Draw(t, "max age")
	s.MaxRetryAfter = rapid.SampledFrom([]time.Duration{24 * time.Hour, 20 * time.Minute}).Draw(t, "max retry-after")
	s.Slots = rapid.SampledFrom([]int{8, 2, 256}).Draw(t, "slots")
	s.MaxInFlight = rapid.SampledFrom([]int{8, 1, 2}).Draw(t, "in flight")
	s.MaxPending = rapid.SampledFrom([]int{0, 12}).Draw(t, "max pending")
	s.Wakes = rapid.Bool().Draw(t, "wakes")
	s.Hooks = rapid.SampledFrom([]hooksKind{noHooks, quickHooks, roughHooks}).Draw(t, "hooks")
	if rapid.Bool().Draw(t, "soon") {
		s.PauseAfter = rapid.SampledFrom([]int{10, 2, 1, 4}).Draw(t, "pause after")
		s.PauseMin = rapid.SampledFrom([]time.Duration{30 * time.Second, 5 * time.Second}).Draw(t, "pause min")
		s.PauseMax = rapid.SampledFrom([]time.Duration{10 * time.Minute, 2 * time.Minute}).Draw(t, "pause max")
		s.DisableAfter = rapid.SampledFrom([]time.Duration{5 * 24 * time.Hour, 20 * time.Minute, 3 * time.Hour, 0}).Draw(t, "disable after")
	}
	s.ReplayMax = rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "replay max")
	s.Backlog = rapid.SampledFrom([]int{100_000, 3, 11}).Draw(t, "backlog")
	s.Policy = rapid.SampledFrom([]webhook.RetryPolicy{
		webhook.Schedule{10 * time.Second, time.Minute, 6 * time.Minute},
		spread,
		webhook.Backoff{Jitter: -1, Retries: 5, Multiplier: 2},
		webhook.Schedule{time.Second},
	}).Draw(t, "policy")
	return s
}

// property is one run.
func property(t *rapid.T) {
	w := newWorld(draw(t))
	n := w.start()
	for i := range rapid.IntRange(1, 3).Draw(t, "endpoints") {
		w.addServed(n, tenants[i%2], subscriptions[i], w.drawSecret(t), i == 1, w.drawServed(t))
	}
	defer func() {
		w.end()
		w.count()
	}()
	t.Repeat(w.moves())
	w.finish(t)
}

// failer is what a run fails through: a *rapid.T or a *testing.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// longest is what Run may take beyond its drain: a call to the store that hangs (60 s at most), and two batches of
// outcomes.
const longest = 2 * time.Minute

// check compares the store with the ledger, and fails the run if anything was wrong so far.
func (w *world) check(t failer) {
	t.Helper()
	synctest.Wait()
	for _, n := range w.nodes {
		if !n.running && !n.dead() && time.Since(n.stopped) > w.Drain+longest && !n.mayRerun() {
			t.Fatalf("STOP: Run of %s has not returned after %v", n.name, time.Since(n.stopped))
		}
	}
	w.ledger.compare()
	if wrong := w.ledger.broken(); wrong != "" {
		t.Fatalf("%s", wrong)
	}
}

// finish makes everything well, lets it come to rest, and audits what is left.
func (w *world) finish(t failer) {
	t.Helper()
	w.calm = true
	// One process is left. The others end in both ways.
	for i, n := range w.alive(nil) {
		n.store.heal()
		if i > 0 && n.running {
			n.shutdown()
		}
	}
	for _, key := range w.endpoints {
		w.receiver(key, func(r *receiver) { r.mode = modes[0] })
		w.swap(key)
	}
	if len(w.alive(func(n *node) bool { return n.running })) == 0 {
		w.start()
	}
	n := w.alive(func(n *node) bool { return n.running })[0]
	time.Sleep(3 * time.Minute) // calls that were under way end, and leases of the dead
	w.check(t)
	rest := func() {
		for pause := time.Minute; !w.settled(n) && pause < 20*24*time.Hour; pause *= 2 {
			time.Sleep(pause)
			w.check(t)
		}
	}
	rest()
	if w.Seed%2 == 0 {
		w.makeUp(n)
		rest()
		w.ledger.madeUp()
		w.check(t)
	}
	w.replayCanary(t, n)
	w.canary(t, n)
	n.shutdown()
	time.Sleep(w.Drain + longest + time.Second)
	w.ledger.audit()
	w.check(t)
}

// settled switches on what is off, and reports whether there is nothing left to do.
func (w *world) settled(n *node) bool {
	for _, key := range w.existing() {
		if len(w.at(key).Secrets) > 1 {
			w.finishRotation(n, key) // in an overlap a first attempt may miss the secret that the receiver knows
		}
		w.swap(key)
		if w.at(key).Health.State == webhook.EndpointDisabled {
			w.setEnabled(n, key, true)
		}
		if s := w.at(key).Health.State; s == webhook.EndpointPending || s == webhook.EndpointPaused && w.ledger.unsettled() == "" { // there is no probe to come
			w.ping(n, key, time.Minute)
		}
	}
	return w.ledger.unsettled() == ""
}

// canary emits when everything is well: the delivery must not have to wait for a poll, the retry of a failed one
// neither.
func (w *world) canary(t failer, n *node) {
	t.Helper()
	rested := w.rest()
	time.Sleep(rested)
	for _, tenant := range tenants {
		w.emit(n, tenant, w.newEvent(0, "", "sess_canary"))
	}
	time.Sleep(3 * time.Second)
	w.check(t)
	if left := w.ledger.unsettled(); left != "" {
		t.Fatalf("%s", "STALL: not delivered after 3 s, and everything is well: "+left)
	}
	for _, key := range w.endpoints {
		w.receiver(key, func(r *receiver) { r.mode = modes[2] })
	}
	time.Sleep(rested)
	for _, tenant := range tenants {
		w.emit(n, tenant, w.newEvent(0, "", "sess_canary"))
	}
	time.Sleep(500 * time.Millisecond)
	for _, key := range w.endpoints {
		w.receiver(key, func(r *receiver) { r.mode = modes[0] })
	}
	time.Sleep(rested + 15*time.Second) // longer than the first wait of any policy
	if w.PauseAfter == 1 {
		time.Sleep(w.PauseMin)
	}
	w.check(t)
	if left := w.ledger.unsettled(); left != "" {
		t.Fatalf("%s", "STALL: not delivered after its first wait, and everything is well: "+left)
	}
}

// replayCanary starts a replay of nothing when everything is well, not through the process that runs: it must find it
// by itself.
func (w *world) replayCanary(t failer, n *node) {
	t.Helper()
	for _, key := range w.existing() {
		w.do(5*time.Second, func() {
			_, err := n.store.CreateReplay(context.Background(), webhook.Replay{
				ID: "rpl_canary_" + key.id, Tenant: key.tenant, EndpointID: key.id, Since: w.began, Until: w.began.Add(time.Nanosecond), Failed: true, Missed: true, State: webhook.ReplayRunning,
			})
			w.problem(n, "canary", err, webhook.ErrReplayRunning) // as will be seen
		})
	}
	time.Sleep(15 * time.Second)
	w.check(t)
	if left := w.ledger.unsettled(); left != "" {
		t.Fatalf("%s", "STALL: a replay has not ended after 15 s, and everything is well: "+left)
	}
}

// rest is how long endpoints' rates take until each of them has a whole burst again.
func (w *world) rest() (longest time.Duration) {
	for _, key := range w.existing() {
		if e := w.at(key); e.Rate > 0 {
			longest = max(longest, time.Duration(burst(&e))*interval(&e))
		}
	}
	return longest
}

func (w *world) count() {
	totals.seeds.Add(1)
	totals.events.Add(int64(w.accepted))
	totals.attempts.Add(int64(w.ledger.sent))
	totals.interruptions.Add(int64(w.ledger.interrupted))
	totals.crashes.Add(int64(w.crashes))
	totals.removed.Add(int64(len(w.ledger.gone)))
	totals.probes.Add(int64(w.ledger.deferred))
	totals.pauses.Add(int64(w.ledger.entered[webhook.ReasonBreaker]))
	totals.disabled.Add(int64(w.ledger.entered[webhook.ReasonFailing]))
	totals.backlogs.Add(int64(w.ledger.backlogs))
	totals.hooks.Add(int64(w.ledger.calledHooks))
	totals.replayed.Add(int64(w.ledger.replayed))
	totals.skipped.Add(int64(w.ledger.skipped))
	totals.simulated.Add(int64(time.Since(w.began) / time.Second))
}

// bubbled is property in a bubble of its own. A *rapid.T fails by a panic, which must not end the bubble's goroutine
// before the run has been cleared away, and is raised again outside.
func bubbled(t *testing.T, property func(*rapid.T)) func(*rapid.T) {
	return func(rt *rapid.T) {
		var failed any
		synctest.Test(t, func(*testing.T) {
			defer func() {
				if failed = recover(); failed != nil && !strings.HasPrefix(fmt.Sprintf("%T", failed), "rapid.") {
					rt.Logf("%s", debug.Stack())
				}
			}()
			property(rt)
		})
		switch fmt.Sprintf("%T", failed) {
		case "<nil>":
		case "rapid.invalidData": // rapid tells failures apart by the line that they come from
			panic(failed)
		default:
			panic(failed)
		}
	}
}

// rapidFlags guards rapid's own flags, the only way to tell it how many seeds to try and from where.
var rapidFlags sync.Mutex

// checkSeeds tries n seeds from base on, or from where -rapid.seed says. The flags are read before the first run
// begins; from there on others may set them.
func checkSeeds(t *testing.T, n int, base uint64) {
	t.Helper()
	rapidFlags.Lock()
	asked := flag.Lookup("rapid.seed").Value.String()
	unlock := sync.OnceFunc(func() {
		setFlag("rapid.seed", asked)
		rapidFlags.Unlock()
	})
	defer unlock()
	if asked == "0" {
		setFlag("rapid.seed", base)
	}
	setFlag("rapid.checks", n)
	one := bubbled(t, property)
	rapid.Check(t, func(rt *rapid.T) {
		unlock()
		one(rt)
	})
}

func setFlag(name string, value any) {
	if err := flag.Set(name, fmt.Sprint(value)); err != nil {
		panic(err)
	}
}

// shards run side by side: a bubble keeps little more than one core busy.
const shards = 2

// TestRegressions repeats what failed once: testdata/rapid/TestRegressions/TestRegressions-*.fail.
func TestRegressions(t *testing.T) {
	t.Parallel()
	checkSeeds(t, 0, 1)
}

func TestSimulation(t *testing.T) {
	t.Parallel()
	seeds, base := 2000, uint64(1)
	if os.Getenv("SOAK") != "" {
		seeds, base = 10_000, uint64(time.Now().UnixNano())
	}
	for i := range shards {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			checkSeeds(t, seeds/shards/seedShare, base+uint64(i)*1_000_003)
		})
	}
	t.Cleanup(func() {
		if !t.Failed() && totals.seeds.Load() >= 500 { // or what they are to show was not tried
			for _, n := range []*atomic.Int64{&totals.interruptions, &totals.removed, &totals.probes, &totals.pauses, &totals.disabled, &totals.backlogs, &totals.hooks, &totals.replayed, &totals.skipped} {
				require.Positive(t, n.Load())
			}
		}
		t.Logf("%d seeds, %d days of simulated time, %d events, %d attempts, %d interruptions, %d crashes, %d deliveries removed, %d failed probes, %d pauses, %d endpoints disabled, %d full backlogs, %d calls of hooks, %d events replayed, %d without contents", totals.seeds.Load(), totals.simulated.Load()/86400,
			totals.events.Load(), totals.attempts.Load(), totals.interruptions.Load(), totals.crashes.Load(), totals.removed.Load(),
			totals.probes.Load(), totals.pauses.Load(), totals.disabled.Load(), totals.backlogs.Load(), totals.hooks.Load(), totals.replayed.Load(), totals.skipped.Load())
	})
}
