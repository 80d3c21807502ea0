package webhook_test

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// waits asks a policy for every wait until it ends.
func waits(t *testing.T, p webhook.RetryPolicy) []time.Duration {
	t.Helper()
	var all []time.Duration
	for n := 1; ; n++ {
		wait, again := p.Next(n, webhook.Attempt{})
		if !again {
			return all
		}
		all = append(all, wait)
		require.Less(t, n, 1000, "the policy does not end")
	}
}

func TestTheDefaultPolicyRetriesThreeTimes(t *testing.T) {
	t.Parallel()
	middle := []time.Duration{10 * time.Second, time.Minute, 6 * time.Minute}
	low, high := make([]time.Duration, 3), make([]time.Duration, 3)
	for range 500 {
		got := waits(t, webhook.Backoff{})
		require.Len(t, got, len(middle))
		for i, wait := range got {
			spread := middle[i] / 5
			require.InDelta(t, middle[i], wait, float64(spread)+1, "retry %d", i+1)
			if wait < middle[i]-spread/2 {
				low[i] = wait
			}
			if wait > middle[i]+spread/2 {
				high[i] = wait
			}
		}
	}
	require.NotContains(t, low, time.Duration(0), "no wait was in the lower part of its spread")
	require.NotContains(t, high, time.Duration(0), "no wait was in the upper part of its spread")
}

func TestExponentialWaitsAreCapped(t *testing.T) {
	t.Parallel()
	got := waits(t, webhook.Backoff{Retries: 6, Initial: time.Minute, Multiplier: 4, Max: time.Hour, Jitter: -1})
	require.Equal(t, []time.Duration{time.Minute, 4 * time.Minute, 16 * time.Minute, time.Hour, time.Hour, time.Hour}, got)
}

func TestALongScheduleDoesNotEndEarly(t *testing.T) {
	t.Parallel()
	// The generator behind the policy gives up after 15 minutes unless it is told not to.
	require.Len(t, waits(t, webhook.Backoff{Retries: 100, Initial: time.Hour, Multiplier: 2}), 100)
}

func TestNoRetries(t *testing.T) {
	t.Parallel()
	require.Empty(t, waits(t, webhook.Backoff{Retries: -1}))
	require.Empty(t, waits(t, webhook.Schedule{}))
}

func TestAScheduleIsExact(t *testing.T) {
	t.Parallel()
	require.Equal(t, []time.Duration{0, 5 * time.Second, time.Hour}, waits(t, webhook.Schedule{0, 5 * time.Second, time.Hour}))

	var total time.Duration
	standard := waits(t, webhook.StandardSchedule())
	for _, wait := range standard {
		total += wait
	}
	require.Len(t, standard, 9)
	require.Equal(t, 75*time.Hour+35*time.Minute+5*time.Second, total)
}

func TestAFunctionIsAPolicy(t *testing.T) {
	t.Parallel()
	policy := webhook.RetryFunc(func(n int, failed webhook.Attempt) (time.Duration, bool) {
		return time.Duration(failed.Status) * time.Second, n < 3
	})
	wait, again := policy.Next(2, webhook.Attempt{Status: 503})
	require.True(t, again)
	require.Equal(t, 503*time.Second, wait)
	_, again = policy.Next(3, webhook.Attempt{})
	require.False(t, again)
}

func TestPoliciesThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]webhook.RetryPolicy{
		"too many retries":        webhook.Backoff{Retries: 101},
		"negative first wait":     webhook.Backoff{Initial: -1},
		"first wait over the cap": webhook.Backoff{Initial: time.Hour, Max: time.Minute},
		"negative cap":            webhook.Backoff{Max: -1},
		"shrinking waits":         webhook.Backoff{Multiplier: 0.5},
		"no multiplier":           webhook.Backoff{Multiplier: math.NaN()},
		"jitter of all":           webhook.Backoff{Jitter: 1},
		"jitter of nothing":       webhook.Backoff{Jitter: math.NaN()},
		"negative scheduled wait": webhook.Schedule{time.Second, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{Retry: policy})
			require.ErrorIs(t, err, webhook.ErrInvalidConfig)
		})
	}
}

func TestPoliciesAtTheirBoundsAreAccepted(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]webhook.RetryPolicy{
		"the most retries":         webhook.Backoff{Retries: 100},
		"waits that are all equal": webhook.Backoff{Initial: time.Hour, Max: time.Hour, Multiplier: 1},
		"the most jitter":          webhook.Backoff{Jitter: math.Nextafter(1, 0)},
		"no wait at all":           webhook.Schedule{0},
	} {
		_, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{Retry: policy})
		require.NoError(t, err, name)
	}
}

func TestRetryAfterInBothForms(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 4, 11, 14, 32, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                                 0,
		"0":                                0,
		"5":                                5 * time.Second,
		"86400":                            24 * time.Hour,
		"1000000000000000000":              math.MaxInt64 / time.Second * time.Second,
		"99999999999999999999999999999":    math.MaxInt64 / time.Second * time.Second,
		"-1":                               0,
		"+5":                               0,
		"5.5":                              0,
		"abc":                              0,
		"Sat, 11 Apr 2026 14:33:30 GMT":    90 * time.Second,
		"Saturday, 11-Apr-26 14:33:30 GMT": 90 * time.Second,
		"Sat, 11 Apr 2026 14:00:00 GMT":    0,
		"Sat, 11 Abc 2026 14:00:00 GMT":    0,
	} {
		h := http.Header{}
		if value != "" {
			h.Set("Retry-After", value)
		}
		require.Equal(t, want, webhook.RetryAfter(h, now), "Retry-After: %s", value)
	}
}
