package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// RetryPolicy says how long to wait after a failed attempt. It must be a pure function, safe for concurrent use: the
// dispatcher keeps no state for it between attempts, so that a schedule survives a restart.
type RetryPolicy interface {
	// Next returns the wait after failed attempt number n (1 for the first; interrupted attempts are not counted), or
	// false if there is to be no further attempt.
	Next(n int, failed Attempt) (wait time.Duration, again bool)
}

// Backoff is the exponential policy: Initial, then Multiplier times the wait before, each spread by Jitter. Its zero
// value is the default policy: three retries after about 10 s, 1 min and 6 min.
type Backoff struct {
	Retries    int           // Defaults to 3; negative: none. At most 100
	Initial    time.Duration // Defaults to 10 s
	Multiplier float64       // Defaults to 6. At least 1
	Max        time.Duration // longest wait before Jitter. Defaults to 24 h
	Jitter     float64       // a wait w is spread over w*(1-Jitter) to w*(1+Jitter). Defaults to 0.2; negative: none. Below 1
}

func (b Backoff) withDefaults() Backoff {
	if b.Retries == 0 {
		b.Retries = 3
	}
	if b.Initial == 0 {
		b.Initial = 10 * time.Second
	}
	if b.Multiplier == 0 {
		b.Multiplier = 6
	}
	if b.Max == 0 {
		b.Max = 24 * time.Hour
	}
	if b.Jitter == 0 {
		b.Jitter = 0.2
	}
	b.Retries, b.Jitter = max(b.Retries, 0), max(b.Jitter, 0)
	return b
}

func (b Backoff) check() error {
	b = b.withDefaults()
	var errs []error
	if b.Retries > 100 {
		errs = append(errs, errors.New("Backoff.Retries is over 100"))
	}
	if b.Initial < 0 || b.Max < b.Initial {
		errs = append(errs, errors.New("Backoff.Initial is negative or over Max"))
	}
	if !(b.Multiplier >= 1) { // NaN too
		errs = append(errs, errors.New("Backoff.Multiplier is below 1"))
	}
	if !(b.Jitter < 1) {
		errs = append(errs, errors.New("Backoff.Jitter is not below 1"))
	}
	return errors.Join(errs...)
}

// Next implements [RetryPolicy].
func (b Backoff) Next(n int, _ Attempt) (time.Duration, bool) {
	b = b.withDefaults()
	if n > b.Retries {
		return 0, false
	}
	// A fresh generator each time, stepped n times: it is stateful and not safe for concurrent use, the policy is
	// neither.
	// MaxElapsedTime 0, since the generator's own default ends any schedule after 15 minutes.
	exp := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(b.Initial),
		backoff.WithMultiplier(b.Multiplier),
		backoff.WithMaxInterval(b.Max),
		backoff.WithRandomizationFactor(b.Jitter),
		backoff.WithMaxElapsedTime(0),
	)
	var wait time.Duration
	for range n {
		wait = exp.NextBackOff()
	}
	return wait, true
}

// Schedule is the policy of exact waits: one retry after each, in order, without jitter.
type Schedule []time.Duration

// Next implements [RetryPolicy].
func (s Schedule) Next(n int, _ Attempt) (time.Duration, bool) {
	if n > len(s) {
		return 0, false
	}
	return s[n-1], true
}

func (s Schedule) check() error {
	for i, wait := range s {
		if wait < 0 {
			return fmt.Errorf("wait %d of the Schedule is negative", i+1)
		}
	}
	return nil
}

// StandardSchedule returns the waits that the Standard Webhooks specification proposes, section "Deliverability and
// reliability": nine retries over about 75 hours.
func StandardSchedule() Schedule {
	const h = time.Hour
	return Schedule{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * h, 5 * h, 10 * h, 14 * h, 20 * h, 24 * h}
}

// RetryFunc makes a [RetryPolicy] of a function.
type RetryFunc func(n int, failed Attempt) (wait time.Duration, again bool)

// Next implements [RetryPolicy].
func (f RetryFunc) Next(n int, failed Attempt) (time.Duration, bool) { return f(n, failed) }

// retryStore repeats a call to a store that is away, with growing pauses, until it succeeds, its error is final, or
// ctx ends. It returns the call's last error.
func retryStore(ctx context.Context, call func() error, failed func(error)) error {
	exp := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	var last error
	_ = backoff.Retry(func() error { // its error is ctx's own where that ended; the call's says more
		last = call()
		if last != nil {
			failed(last)
		}
		return last
	}, backoff.WithContext(exp, ctx))
	return last
}
