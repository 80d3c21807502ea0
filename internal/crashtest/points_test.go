//go:build linux

package crashtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook/internal/failpoint"
)

// points are all failpoints.
var points = []failpoint.Point{
	failpoint.K0, failpoint.K1, failpoint.K2, failpoint.K3, failpoint.K4, failpoint.K5, failpoint.K6, failpoint.K7, failpoint.K8, failpoint.K9,
	failpoint.K10, failpoint.K11, failpoint.K12, failpoint.K13, failpoint.K14, failpoint.K15, failpoint.K16, failpoint.K17, failpoint.K18,
	failpoint.K19, failpoint.K20, failpoint.K21,
}

// unreachable says of points that no process with this store can die there, and why.
var unreachable = map[string]map[failpoint.Point]string{}

// passages counts, for each store and point, at how many passages a process was killed.
type passages struct {
	mu    sync.Mutex
	count map[string]int
	all   map[string]bool // there was no further passage
}

func (p *passages) note(store string, point failpoint.Point, n int, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := store + " " + string(point)
	p.count[key] = max(p.count[key], n)
	p.all[key] = p.all[key] || all
}

// String is a table of points and stores.
func (p *passages) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "passages at which a process was killed (+: and there are more)\n%-6s", "point")
	for _, store := range stores {
		fmt.Fprintf(&b, "%10s", store)
	}
	for _, point := range points {
		fmt.Fprintf(&b, "\n%-6s", point)
		for _, store := range stores {
			key := store + " " + string(point)
			cell := "-"
			if n, tried := p.count[key]; tried {
				cell = fmt.Sprint(n)
				if !p.all[key] {
					cell += "+"
				}
			}
			fmt.Fprintf(&b, "%10s", cell)
		}
	}
	return b.String()
}

// TestKilledAtEachPoint kills a process at each failpoint, at its first passage, its second, and so on, lets another
// one finish what it left, and looks for what is missing.
func TestKilledAtEachPoint(t *testing.T) {
	t.Parallel()
	seen := &passages{count: map[string]int{}, all: map[string]bool{}}
	variants := []variant{{1, "/", 3}}
	if soak {
		// Each number of dispatchers and each receiver at all passages, and what is left of their combinations at the
		// first.
		variants = []variant{
			{1, "/", 20},
			{2, failing, 20},
			{3, hanging, 20},
			{1, failing, 3},
			{1, hanging, 3},
			{2, "/", 3},
			{2, hanging, 3},
			{3, "/", 3},
			{3, failing, 3},
		}
	}
	t.Run("stores", func(t *testing.T) { // so that what follows waits for them
		for _, store := range stores {
			t.Run(store, func(t *testing.T) {
				t.Parallel()
				if store == "postgres" {
					shared.theCluster(t)
				}
				for _, point := range points {
					for _, v := range variants {
						t.Run(v.name(point), func(t *testing.T) {
							t.Parallel()
							n := 0
							reached := true
							for reached && n < v.most {
								if reached = v.killAt(t, store, point, n+1); reached {
									n++
								}
							}
							seen.note(store, point, n, !reached)
							if reason := unreachable[store][point]; n == 0 && reason == "" {
								t.Errorf("%s was never passed", point)
							} else if n > 0 && reason != "" {
								t.Errorf("%s is passed, though it is said: %s", point, reason)
							}
						})
					}
				}
			})
		}
	})
	publish(t, seen.String())
}

// variant is a way to run the cases.
type variant struct {
	dispatchers int
	path        string // how the receiver behaves
	most        int    // passages that are tried
}

func (v variant) name(p failpoint.Point) string {
	return fmt.Sprintf("%s, %d, %s", p, v.dispatchers, cmp.Or(strings.Trim(v.path, "/"), "ok"))
}

// killAt kills a process at the n-th passage of the point and checks what comes of it. It reports whether the process
// came there.
func (v variant) killAt(t *testing.T, store string, point failpoint.Point, n int) (reached bool) {
	t.Run(fmt.Sprint(n), func(t *testing.T) {
		c := newCrew(t, newDatabase(t, store, point == failpoint.K19), newReceiver(t))
		c.config.Endpoints[0].URL = c.receiver.url(v.path)
		c.config.Side = &Target{"side", c.receiver.url(v.path)}
		if soak {
			c.config.Events = 20
		}
		if point == failpoint.K17 { // there must be a lease to lose
			first := c.start("before", Walk, "K11:1", nil)
			require.True(t, first.killed(t, time.Minute))
			c.bury(first)
			c.config.Side = &Target{"other", c.receiver.url(v.path)}
		}
		var others []*process
		join := func() {
			for i := 1; i < v.dispatchers; i++ {
				others = append(others, c.start(fmt.Sprintf("other%d", i), Load, "", func(c *Config) { c.Events, c.Pause = 5, 5*time.Millisecond }))
			}
		}
		once := point == failpoint.K17 || point == failpoint.K19 // whoever comes first finds the lost lease, or migrates
		if !once {
			join()
		}
		victim := c.start("victim", Walk, fmt.Sprintf("%s:%d", point, n), nil)
		reached = victim.killed(t, time.Minute)
		c.bury(victim)
		if once {
			join()
		}
		for _, p := range others {
			p.signal(t, stopSignal)
			p.stopped(t, time.Minute)
			c.bury(p)
		}
		before := c.snapshot()
		c.start("healer", Drain, "", func(c *Config) {
			if n%2 == 0 { // whoever does not know what came of an event emits it again
				c.Again = unknowns(victim.lines(t))
			}
		}).clean(t, 2*drainLimit)
		c.judge(before)
	})
	return reached
}

// unknowns are the events of a ledger of which nobody knows whether they were accepted.
func unknowns(lines []Line) (ids []string) {
	for _, l := range lines {
		switch l.Op {
		case OpEmit:
			ids = append(ids, l.Event)
		case OpAccepted, OpRefused:
			ids = slices.DeleteFunc(ids, func(id string) bool { return id == l.Event })
		}
	}
	return ids
}
