package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func TestReceiverHandlesAnEventOnce(t *testing.T) {
	t.Parallel()
	for _, scheme := range []webhook.Scheme{webhook.Meshia, webhook.Standard} {
		v := mustVerifier(t, &webhook.VerifierConfig{Scheme: scheme}, whsecSecret)
		r := webhook.NewReceiver(v, &webhook.ReceiverConfig{Logger: discard()})
		calls := 0
		webhook.Handle(r, webhook.ExperimentCompleted, func(context.Context, webhook.Event, webhook.ExperimentCompletedData) error {
			calls++
			if calls == 1 {
				return errors.New("the first attempt fails")
			}
			return nil
		})
		e := sampleEvent()
		for i, want := range []int{500, 204, 204, 204} {
			w := httptest.NewRecorder()
			r.ServeHTTP(w, request(signedHeader(t, whsecSecret, e.ID, e.Body), e.Body))
			require.Equal(t, want, w.Code, i)
		}
		require.Equal(t, 2, calls)
	}
}

func TestReceiverWithoutDedupe(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, &webhook.ReceiverConfig{Dedupe: webhook.NoDedupe{}})
	calls := 0
	webhook.Handle(r, anything, func(context.Context, webhook.Event, any) error { calls++; return nil })
	e := anything.New("", nil)
	deliver(t, r, e)
	deliver(t, r, e)
	require.Equal(t, 2, calls)
}

// Where the signature does not cover the id, nobody can make a captured event pass for another one, nor hide the other
// one by it.
func TestUnsignedIDCannotHideAnEvent(t *testing.T) {
	t.Parallel()
	var got []string
	handle := func(_ context.Context, _ webhook.Event, data any) error {
		got = append(got, fmt.Sprint(data))
		return nil
	}
	old, next := anything.New("", "old"), anything.New("", "next")

	r := newReceiver(t, nil)
	webhook.Handle(r, anything, handle)
	header := signedHeader(t, typedSecret, next.ID, old.Body) // the old body under the id of the one to come
	w := httptest.NewRecorder()
	r.ServeHTTP(w, request(header, old.Body))
	require.Equal(t, http.StatusNoContent, w.Code)
	require.Equal(t, http.StatusNoContent, deliver(t, r, next).Code)
	require.Equal(t, []string{"old", "next"}, got)
}

// With Standard the id is signed, and is the key: a retry is recognised whatever else changed.
func TestStandardReceiverKnowsEventsByTheirID(t *testing.T) {
	t.Parallel()
	dedupe := &spyDeduper{Deduper: webhook.NewMemoryDeduper(nil)}
	r := webhook.NewReceiver(mustVerifier(t, &webhook.VerifierConfig{Scheme: webhook.Standard}, whsecSecret), &webhook.ReceiverConfig{Dedupe: dedupe, Logger: discard()})
	webhook.Handle(r, anything, func(context.Context, webhook.Event, any) error { return nil })
	e := anything.New("", nil)
	r.ServeHTTP(httptest.NewRecorder(), request(signedHeader(t, whsecSecret, e.ID, e.Body), e.Body))
	require.Equal(t, []string{"begin " + e.ID, "done " + e.ID}, dedupe.calls)

	meshia := &spyDeduper{Deduper: webhook.NewMemoryDeduper(nil)}
	r = newReceiver(t, &webhook.ReceiverConfig{Dedupe: meshia})
	webhook.Handle(r, anything, func(context.Context, webhook.Event, any) error { return nil })
	deliver(t, r, e)
	require.Len(t, meshia.calls, 2)
	require.Regexp(t, "^begin "+e.ID+`\.[0-9a-f]{64}$`, meshia.calls[0])
}

func TestReceiverKeepsTwinsApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, nil)
		calls, release := 0, make(chan struct{})
		webhook.Handle(r, webhook.ExperimentCompleted, func(context.Context, webhook.Event, webhook.ExperimentCompletedData) error {
			calls++
			<-release
			return nil
		})
		e := sampleEvent()
		first := make(chan int)
		go func() { first <- deliver(t, r, e).Code }()
		synctest.Wait()

		twin := deliver(t, r, e)
		require.Equal(t, http.StatusServiceUnavailable, twin.Code)
		require.Equal(t, "15", twin.Header().Get("Retry-After"))
		require.Equal(t, http.StatusNoContent, deliver(t, r, anything.New("", nil)).Code) // others are not held up

		close(release)
		require.Equal(t, http.StatusNoContent, <-first)
		require.Equal(t, http.StatusNoContent, deliver(t, r, e).Code)
		require.Equal(t, 1, calls)
	})
}

func TestReceiverTwinAfterTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, nil)
		release := make(chan error)
		webhook.Handle(r, anything, func(context.Context, webhook.Event, any) error { return <-release })
		e := anything.New("", nil)
		codes := make(chan int, 2)
		run := func() { codes <- deliver(t, r, e).Code }
		go run()
		synctest.Wait()
		time.Sleep(time.Minute)
		go run()
		synctest.Wait()
		require.Equal(t, http.StatusServiceUnavailable, deliver(t, r, e).Code) // the second has it
		release <- errors.New("one fails")
		release <- nil
		require.ElementsMatch(t, []int{204, 500}, []int{<-codes, <-codes})
		require.Equal(t, http.StatusNoContent, deliver(t, r, e).Code)
	})
}

// spyDeduper writes down what it is asked, and fails where it is told to.
type spyDeduper struct {
	webhook.Deduper
	calls                          []string
	failBegin, failDone, failAbort error
	state                          webhook.DedupeState
}

type spyKey struct{}

func (d *spyDeduper) Begin(ctx context.Context, key string) (context.Context, webhook.DedupeState, error) {
	d.calls = append(d.calls, "begin "+key)
	ctx, state, err := d.Deduper.Begin(ctx, key)
	if d.state != 0 {
		state = d.state
	}
	return context.WithValue(ctx, spyKey{}, "transaction"), state, errors.Join(err, d.failBegin)
}

func (d *spyDeduper) Done(ctx context.Context, key string) error {
	return d.end(ctx, "done "+key, d.Deduper.Done(ctx, key), d.failDone)
}

func (d *spyDeduper) Abort(ctx context.Context, key string) error {
	return d.end(ctx, "abort "+key, d.Deduper.Abort(ctx, key), d.failAbort)
}

func (d *spyDeduper) end(ctx context.Context, call string, err, fail error) error {
	if ctx.Value(spyKey{}) != "transaction" || ctx.Err() != nil {
		call += " in a wrong context"
	}
	d.calls = append(d.calls, call)
	return errors.Join(err, fail)
}

func (d *spyDeduper) verbs() string {
	var verbs []string
	for _, call := range d.calls {
		verb, rest, _ := strings.Cut(call, " ")
		if strings.Contains(rest, "wrong") {
			verb = call
		}
		verbs = append(verbs, verb)
	}
	return strings.Join(verbs, " ")
}

// A Deduper gets its own context back, and the handler gets it too: a transaction can be in it.
func TestReceiverRunsInTheDedupersContext(t *testing.T) {
	t.Parallel()
	dedupe := &spyDeduper{Deduper: webhook.NoDedupe{}}
	r := newReceiver(t, &webhook.ReceiverConfig{Dedupe: dedupe})
	fail := false
	webhook.Handle(r, anything, func(ctx context.Context, _ webhook.Event, _ any) error {
		require.Equal(t, "transaction", ctx.Value(spyKey{}))
		require.Equal(t, "the server's", ctx.Value(serverKey{}))
		require.ErrorIs(t, ctx.Err(), context.Canceled) // the handler is told
		if fail {
			return errors.New("failed")
		}
		return nil
	})
	e := anything.New("", nil)
	for range 2 {
		ctx, hangUp := context.WithCancel(context.WithValue(t.Context(), serverKey{}, "the server's"))
		hangUp() // the sender is gone before the handler is done; what was done is recorded all the same
		r.ServeHTTP(httptest.NewRecorder(), request(signedHeader(t, typedSecret, e.ID, e.Body), e.Body).WithContext(ctx))
		fail = true
	}
	require.Equal(t, "begin done begin abort", dedupe.verbs())
}

type serverKey struct{}

func TestReceiverWithADeduperThatFails(t *testing.T) {
	t.Parallel()
	failed := errors.New("database is down")
	for name, c := range map[string]struct {
		dedupe spyDeduper
		verbs  string
		code   int
		logged int
	}{
		"begin":              {spyDeduper{failBegin: failed}, "begin", 500, 1},
		"done":               {spyDeduper{failDone: failed}, "begin done abort", 500, 1},
		"done and abort":     {spyDeduper{failDone: failed, failAbort: failed}, "begin done abort", 500, 2},
		"a state of its own": {spyDeduper{state: 7}, "begin", 500, 1},
	} {
		var log logRecorder
		c.dedupe.Deduper = webhook.NoDedupe{}
		r := newReceiver(t, &webhook.ReceiverConfig{Dedupe: &c.dedupe, Logger: slog.New(&log)})
		webhook.Handle(r, anything, func(context.Context, webhook.Event, any) error { return nil })
		require.Equal(t, c.code, deliver(t, r, anything.New("", nil)).Code, name)
		require.Equal(t, c.verbs, c.dedupe.verbs(), name)
		require.Len(t, log.errors, c.logged, name)
		if c.dedupe.state == 0 {
			require.ErrorIs(t, log.errors[0], failed, name)
		}
	}
}
