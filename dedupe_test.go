package webhook_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func begin(t testing.TB, d webhook.Deduper, key string, want webhook.DedupeState) context.Context {
	t.Helper()
	ctx, state, err := d.Begin(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, want, state)
	return ctx
}

func TestMemoryDeduperDoneAndAbort(t *testing.T) {
	t.Parallel()
	d := webhook.NewMemoryDeduper(nil)
	run := begin(t, d, "a", webhook.DedupeBegun)
	begin(t, d, "a", webhook.DedupeRunning)
	begin(t, d, "b", webhook.DedupeBegun)
	require.NoError(t, d.Abort(run, "a"))
	run = begin(t, d, "a", webhook.DedupeBegun)
	require.NoError(t, d.Done(run, "a"))
	begin(t, d, "a", webhook.DedupeDone)
	require.NoError(t, d.Abort(run, "a")) // too late
	begin(t, d, "a", webhook.DedupeDone)
	require.NoError(t, d.Done(run, "a"))
	begin(t, d, "a", webhook.DedupeDone)
	begin(t, d, "b", webhook.DedupeRunning)
}

func TestMemoryDeduperForgetsAfterTheTTL(t *testing.T) {
	t.Parallel()
	for ttl, cfg := range map[time.Duration]*webhook.MemoryDeduperConfig{
		24 * time.Hour: nil,
		time.Hour:      {TTL: time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := webhook.NewMemoryDeduper(cfg)
			require.NoError(t, d.Done(begin(t, d, "a", webhook.DedupeBegun), "a"))
			time.Sleep(ttl / 2)
			require.NoError(t, d.Done(begin(t, d, "b", webhook.DedupeBegun), "b"))
			require.NoError(t, d.Done(t.Context(), "a")) // it was done before, and its time goes on from there
			time.Sleep(ttl/2 - time.Nanosecond)
			begin(t, d, "a", webhook.DedupeDone)
			time.Sleep(time.Nanosecond)
			begin(t, d, "a", webhook.DedupeBegun)
			begin(t, d, "b", webhook.DedupeDone)
		})
	}
}

func TestMemoryDeduperLease(t *testing.T) {
	t.Parallel()
	for cfg, lease := range map[*webhook.MemoryDeduperConfig]time.Duration{
		nil:                  time.Minute,
		{TTL: time.Hour}:     time.Minute,
		{Lease: time.Second}: time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			d := webhook.NewMemoryDeduper(cfg)
			first := begin(t, d, "a", webhook.DedupeBegun)
			time.Sleep(lease - time.Nanosecond)
			begin(t, d, "a", webhook.DedupeRunning)
			time.Sleep(time.Nanosecond)
			second := begin(t, d, "a", webhook.DedupeBegun)

			require.NoError(t, d.Abort(first, "a")) // it has the key no more
			begin(t, d, "a", webhook.DedupeRunning)
			require.NoError(t, d.Abort(t.Context(), "a")) // nobody's
			begin(t, d, "a", webhook.DedupeRunning)

			require.NoError(t, d.Done(t.Context(), "b")) // nobody's either, and done
			require.NoError(t, d.Abort(t.Context(), "b"))
			begin(t, d, "b", webhook.DedupeDone)

			require.NoError(t, d.Done(first, "a")) // but if it was handled, it was
			begin(t, d, "a", webhook.DedupeDone)
			require.NoError(t, d.Abort(second, "a"))
			begin(t, d, "a", webhook.DedupeDone)
		})
		synctest.Test(t, func(t *testing.T) {
			d := webhook.NewMemoryDeduper(cfg)
			first := begin(t, d, "a", webhook.DedupeBegun)
			time.Sleep(lease)
			require.NoError(t, d.Abort(begin(t, d, "a", webhook.DedupeBegun), "a"))
			require.NoError(t, d.Done(first, "a"))
			begin(t, d, "a", webhook.DedupeDone)
		})
	}
}

func TestMemoryDeduperIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := webhook.NewMemoryDeduper(&webhook.MemoryDeduperConfig{MaxEntries: 3, Lease: time.Minute})
		running := begin(t, d, "running", webhook.DedupeBegun)
		for i := range 10 {
			key := fmt.Sprint(i)
			require.NoError(t, d.Done(begin(t, d, key, webhook.DedupeBegun), key))
		}
		begin(t, d, "8", webhook.DedupeDone) // the newest two are left, and what runs
		begin(t, d, "9", webhook.DedupeDone)
		begin(t, d, "running", webhook.DedupeRunning)
		begin(t, d, "7", webhook.DedupeBegun) // 8, the oldest, made room for it
		begin(t, d, "9", webhook.DedupeDone)
		begin(t, d, "8", webhook.DedupeBegun) // and 9 for this

		_, state, err := d.Begin(t.Context(), "9") // all three run
		require.Error(t, err)
		require.Zero(t, state)
		begin(t, d, "8", webhook.DedupeRunning) // what is known takes no room
		require.NoError(t, d.Done(running, "running"))
		require.NoError(t, d.Done(begin(t, d, "9", webhook.DedupeBegun), "9"))

		begin(t, d, "10", webhook.DedupeBegun)
		time.Sleep(time.Minute) // none of them was ended, as if their process had forgotten them
		for i := range 3 {
			begin(t, d, fmt.Sprint(100+i), webhook.DedupeBegun)
		}
		late, _, err := d.Begin(t.Context(), "103")
		require.Error(t, err)
		require.NoError(t, d.Done(late, "103")) // there is no room to remember it
		_, _, err = d.Begin(t.Context(), "103")
		require.Error(t, err)
	})
}

func TestMemoryDeduperDefaultSize(t *testing.T) {
	t.Parallel()
	d := webhook.NewMemoryDeduper(&webhook.MemoryDeduperConfig{TTL: -1, MaxEntries: -1, Lease: -1})
	for i := range 100_001 {
		key := fmt.Sprint(i)
		ctx, state, err := d.Begin(t.Context(), key)
		if err != nil || state != webhook.DedupeBegun || d.Done(ctx, key) != nil {
			t.Fatal(i, state, err)
		}
	}
	begin(t, d, "1", webhook.DedupeDone)
	begin(t, d, "0", webhook.DedupeBegun)
}

// Whatever the order of events, no two runs of one key overlap, and nothing runs that was done.
func TestMemoryDeduperUnderContention(t *testing.T) {
	t.Parallel()
	d := webhook.NewMemoryDeduper(nil)
	const keys, workers, rounds = 8, 8, 400
	var running, done [keys]atomic.Int32
	var wg sync.WaitGroup
	for w := range workers {
		r := rand.New(rand.NewPCG(7, uint64(w)))
		wg.Go(func() {
			for range rounds {
				k := r.IntN(keys)
				key := fmt.Sprint(k)
				wasDone := done[k].Load() > 0
				ctx, state, err := d.Begin(t.Context(), key)
				if err != nil {
					t.Error(err)
				}
				if wasDone && state != webhook.DedupeDone {
					t.Error("begun again")
				}
				if state != webhook.DedupeBegun {
					continue
				}
				if running[k].Add(1) != 1 {
					t.Error("two runs at once")
				}
				running[k].Add(-1)
				if r.IntN(20) > 0 {
					_ = d.Abort(ctx, key)
					continue
				}
				_ = d.Done(ctx, key)
				if done[k].Add(1) != 1 {
					t.Error("done twice")
				}
			}
		})
	}
	wg.Wait()
}

func TestNoDedupeLetsEverythingRun(t *testing.T) {
	t.Parallel()
	var d webhook.NoDedupe
	ctx := begin(t, d, "a", webhook.DedupeBegun)
	require.NoError(t, d.Done(ctx, "a"))
	require.NoError(t, d.Abort(begin(t, d, "a", webhook.DedupeBegun), "a"))
	begin(t, d, "a", webhook.DedupeBegun)
}
