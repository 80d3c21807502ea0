package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// BenchmarkIsolation looks at what endpoints that never answer do to those that do, on each store, and prints a table.
//
// Of 1 000 endpoints that get an event in turn, 1 000 events a second or half of what the store can do here, one in
// ten hangs. x-alone is the healthy ones' 99th percentile from Emit to the request, once it is known who hangs,
// divided by the same where nobody does; x-cold is the same before anything is known of anybody. heap-MiB is what the
// process holds with requests hanging over what it held with the same endpoints before the first event for them, log of
// a memory store included, and left the goroutines that it has more after Run.
//
// Then 10 000 endpoints hang beside a healthy one, and take all that they can get. x-crowd is the rate at which that
// one gets its events, divided by its rate before they came.
//
// Timeouts are a second or two and not fifteen: what is learnt is learnt sooner, and what hangs comes round more
// often.
func BenchmarkIsolation(b *testing.B) {
	var table []isolationRow
	run := func(name string, emitters int, s func(b *testing.B) webhook.Store) {
		b.Run(name, func(b *testing.B) {
			r := isolation(b, s(b), emitters)
			r.store = strings.ReplaceAll(name, "_", " ")
			table = append(table, r)
		})
	}
	run("memory", 8, func(*testing.B) webhook.Store { return webhook.NewMemoryStore(nil) })
	run("sqlite", 64, func(b *testing.B) webhook.Store {
		s, _ := openSQLite(b)
		return s
	})
	run("postgres", 64, func(b *testing.B) webhook.Store {
		s, _ := openPostgres(b, startServer(b, newest(b)).DSN("postgres"), 40)
		return s
	})
	printIsolation(table)
}

type isolationRow struct {
	store                           string
	perSecond                       int
	endpoints, crowd                int
	alone, beside, warm, cold       series
	heap, left, before, with, ratio series
}

// The goals: see printIsolation.
const (
	isolationGoal     = 1.5
	isolationHeapGoal = 64
)

func isolation(b *testing.B, s webhook.Store, emitters int) isolationRow {
	b.Helper()
	r := isolationRow{endpoints: 1_000, crowd: 10_000}
	times, timeout, phase, flood := 3, 2*time.Second, 3*time.Second, 3*time.Second
	if testing.Short() {
		times, timeout, phase, flood = 1, 250*time.Millisecond, 700*time.Millisecond, 300*time.Millisecond
		r.endpoints, r.crowd = 100, 500
	}
	turn := 0
	for b.Loop() {
		goroutines := runtime.NumGoroutine()
		q := newQuarter(b, s, timeout, emitters)
		turn++
		one := fmt.Sprint("one", turn, "-")
		q.settle(b, one, 1, false)
		r.perSecond = int(min(1_000, q.flood(b, one+"0", flood)/2))
		for range times {
			turn++
			quiet, loud := fmt.Sprint("quiet", turn, "-"), fmt.Sprint("loud", turn, "-")
			q.settle(b, quiet, r.endpoints, true)
			q.settle(b, loud, r.endpoints, true)
			heap := heapNow()
			q.trickle(b, quiet, "unknown", r.endpoints, r.perSecond, phase, true)
			alone := q.trickle(b, quiet, "alone", r.endpoints, r.perSecond, phase, true)
			cold := q.trickle(b, loud, "cold", r.endpoints, r.perSecond, phase+timeout, false)
			warm := q.trickle(b, loud, "warm", r.endpoints, r.perSecond, phase, false)
			r.heap = append(r.heap, heapNow()-heap)
			q.leave(b, quiet, r.endpoints)
			q.leave(b, loud, r.endpoints)
			r.alone, r.beside = append(r.alone, alone), append(r.beside, warm)
			r.warm, r.cold = append(r.warm, warm/alone), append(r.cold, cold/alone)
		}
		before := q.flood(b, one+"0", flood)
		heap := q.crowd(b, r.crowd)
		with := q.flood(b, one+"0", flood)
		r.heap = append(r.heap, heapNow()-heap)
		r.before, r.with, r.ratio = append(r.before, before), append(r.with, with), append(r.ratio, with/before)
		q.stop()
		r.left = append(r.left, left(goroutines))
		require.NoError(b, q.Tenant("crowd").EraseTenant(b.Context()))
	}
	r.warm.report(b, "x-alone")
	b.ReportMetric(r.cold.median(), "x-cold")
	b.ReportMetric(r.beside.median(), "p99-ms")
	b.ReportMetric(float64(r.perSecond), "events/s")
	b.ReportMetric(r.heap.percentile(100), "heap-MiB")
	b.ReportMetric(r.left.percentile(100), "left")
	b.ReportMetric(r.ratio.median(), "x-crowd")
	marked(b, isolationGoal)
	return r
}

// printIsolation prints what a person wants to see. What misses its goal has an exclamation mark.
func printIsolation(rows []isolationRow) {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	mark := func(format string, figure float64, met bool) string {
		text := fmt.Sprintf(format, figure)
		if !met {
			text += " !"
		}
		return text
	}
	fmt.Fprintf(out, "\nOne of ten endpoints hangs. Goals: p99 at most %.1f times what it is alone, heap below %d MiB over base, nothing left after Run.\n", isolationGoal, isolationHeapGoal)
	fmt.Fprintln(out, "store\tendpoints\tevents/s\tp99 alone\tp99 beside\ttimes\tcold\theap MiB\tleft\thanging\tone alone/s\tbeside them/s\ttimes\t")
	for _, r := range rows {
		warm, heap, left := r.warm.median(), r.heap.percentile(100), r.left.percentile(100)
		fmt.Fprintf(out, "%s\t%d\t%d\t%.2f ms\t%.2f ms\t%s\t%.1f\t%s\t%s\t%d\t%.0f\t%.0f\t%.2f\t\n",
			r.store, r.endpoints, r.perSecond, r.alone.median(), r.beside.median(), mark("%.2f", warm, warm <= isolationGoal), r.cold.median(),
			mark("%.0f", heap, heap < isolationHeapGoal), mark("%.0f", left, left == 0), r.crowd, r.before.median(), r.with.median(), r.ratio.median())
	}
	_ = out.Flush()
}
