package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// deliver sends an event to a receiver, signed with the typed secret.
func deliver(t testing.TB, h http.Handler, e webhook.Event) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(signedHeader(t, typedSecret, e.ID, e.Body), e.Body))
	return w
}

func newReceiver(t testing.TB, cfg *webhook.ReceiverConfig) *webhook.Receiver {
	t.Helper()
	if cfg == nil {
		cfg = &webhook.ReceiverConfig{}
	}
	if cfg.Logger == nil {
		cfg.Logger = discard()
	}
	return webhook.NewReceiver(mustVerifier(t, nil, typedSecret), cfg)
}

func TestReceiverCallsTheHandlerOfTheType(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	sent := sampleEvent()
	var got []webhook.ExperimentCompletedData
	webhook.Handle(r, webhook.ExperimentCompleted, func(ctx context.Context, e webhook.Event, data webhook.ExperimentCompletedData) error {
		require.NoError(t, ctx.Err())
		require.Equal(t, sent.ID, e.ID)
		got = append(got, data)
		return nil
	})
	webhook.Handle(r, webhook.ExperimentFailed, func(context.Context, webhook.Event, webhook.ExperimentFailedData) error {
		t.Error("another type's handler")
		return nil
	})
	w := deliver(t, r, sent)
	require.Equal(t, http.StatusNoContent, w.Code)
	require.Empty(t, w.Body.String())
	require.Equal(t, []webhook.ExperimentCompletedData{
		{ExperimentID: "exp_def456", Metrics: webhook.Metrics{"loss": 0.0342}, DurationSeconds: 1847},
	}, got)
}

func TestReceiverAcceptsWhatNobodyHandles(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	require.Equal(t, http.StatusNoContent, deliver(t, r, sampleEvent()).Code)
	require.Equal(t, http.StatusNoContent, deliver(t, r, webhook.Ping().New("", webhook.PingData{WebhookID: "we_1", Events: []string{"*"}})).Code)
}

func TestReceiverUnhandled(t *testing.T) {
	t.Parallel()
	var got []string
	fail := errors.New("no")
	r := newReceiver(t, &webhook.ReceiverConfig{Unhandled: func(_ context.Context, e webhook.Event) error {
		got = append(got, e.Type)
		if len(got) == 1 {
			return fail
		}
		return nil
	}})
	e := anything.New("", nil)
	require.Equal(t, http.StatusInternalServerError, deliver(t, r, e).Code)
	require.Equal(t, http.StatusNoContent, deliver(t, r, e).Code)
	require.Equal(t, http.StatusNoContent, deliver(t, r, e).Code) // a duplicate
	require.Equal(t, http.StatusNoContent, deliver(t, r, webhook.Ping().New("", webhook.PingData{})).Code)
	require.Equal(t, []string{"any.thing", "any.thing"}, got)
}

func TestReceiverPingCanBeHandled(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	pings := 0
	webhook.Handle(r, webhook.Ping(), func(_ context.Context, _ webhook.Event, data webhook.PingData) error {
		pings++
		require.Equal(t, "we_1", data.WebhookID)
		return nil
	})
	require.Equal(t, http.StatusNoContent, deliver(t, r, webhook.Ping().New("", webhook.PingData{WebhookID: "we_1"})).Code)
	require.Equal(t, 1, pings)
}

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

// Where the signature does not cover the id, nobody can make a captured event pass for another one, nor hide the other one by it.
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

func TestReceiverFailures(t *testing.T) {
	t.Parallel()
	var log logRecorder
	r := newReceiver(t, &webhook.ReceiverConfig{Logger: slog.New(&log)})
	var do func() error
	webhook.Handle(r, anything, func(context.Context, webhook.Event, any) error { return do() })
	e := anything.New("", "in the data")
	failed := errors.New("database is down")
	for name, f := range map[string]func() error{
		"error": func() error { return failed },
		// What a handler returns says nothing about the request, whatever it wraps.
		"not verified":   func() error { return fmt.Errorf("%w: upstream", webhook.ErrNotVerified) },
		"invalid data":   func() error { return webhook.ErrInvalidData },
		"unsupported":    func() error { return webhook.ErrUnsupportedMedia },
		"panic":          func() error { panic("at the disco") },
		"panic error":    func() error { panic(failed) },
		"panic nil":      func() error { panic(nil) },
		"panic to abort": func() error { panic(http.ErrAbortHandler) },
	} {
		do = f
		log.errors = nil
		w := deliver(t, r, e)
		require.Equal(t, http.StatusInternalServerError, w.Code, name)
		require.Equal(t, "Internal Server Error\n", w.Body.String(), name)
		require.Len(t, log.errors, 1, name)
		require.Equal(t, slog.LevelError, log.levels[len(log.levels)-1], name)
		if name == "error" {
			require.ErrorIs(t, log.errors[0], failed)
		}
		if strings.HasPrefix(name, "panic") {
			require.ErrorContains(t, log.errors[0], "receiver_test.go", name) // where it was
		}
		require.Contains(t, log.String(), e.ID, name)
		require.NotContains(t, log.String(), "in the data", name)
	}
	do = func() error { return nil }
	require.Equal(t, http.StatusNoContent, deliver(t, r, e).Code) // no failure made it a duplicate
}

func TestReceiverHandlerThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	exit := true
	webhook.Handle(r, anything, func(context.Context, webhook.Event, any) error {
		if exit {
			runtime.Goexit()
		}
		return nil
	})
	e := anything.New("", nil)
	var wg sync.WaitGroup
	wg.Go(func() { deliver(t, r, e) })
	wg.Wait()
	exit = false
	require.Equal(t, http.StatusNoContent, deliver(t, r, e).Code)
}

func TestReceiverDataThatDoesNotFit(t *testing.T) {
	t.Parallel()
	var log logRecorder
	dedupe := &spyDeduper{Deduper: webhook.NewMemoryDeduper(nil)}
	r := newReceiver(t, &webhook.ReceiverConfig{Logger: slog.New(&log), Dedupe: dedupe})
	webhook.Handle(r, webhook.ExperimentCompleted, func(context.Context, webhook.Event, webhook.ExperimentCompletedData) error {
		t.Error("called")
		return nil
	})
	other := webhook.NewEventType[any](webhook.ExperimentCompleted.Name(), "", nil)
	for _, data := range []any{
		map[string]any{"duration_seconds": 12345.678}, map[string]any{"experiment_id": []string{"private"}}, map[string]any{"metrics": "private"}, "private",
	} {
		require.Equal(t, http.StatusBadRequest, deliver(t, r, other.New("", data)).Code)
	}
	require.Len(t, log.errors, 4)
	for _, err := range log.errors {
		require.ErrorIs(t, err, webhook.ErrInvalidData)
	}
	require.ErrorContains(t, log.errors[0], "duration_seconds")
	require.NotContains(t, log.String(), "private")
	require.NotContains(t, log.String(), "12345")
	require.Empty(t, dedupe.calls)
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

func TestHandlePanicsOnMistakesInTheSource(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	nothing := func(context.Context, webhook.Event, any) error { return nil }
	webhook.Handle(r, anything, nothing)
	require.PanicsWithValue(t, `webhook: Handle: event type "any.thing" has a handler already`, func() { webhook.Handle(r, anything, nothing) })
	require.Panics(t, func() { webhook.Handle(r, webhook.SessionStarted, nil) })
	require.Panics(t, func() { webhook.NewReceiver(nil, nil) })
}

func TestHandleWhileServing(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 100 {
			if code := deliver(t, r, anything.New("", nil)).Code; code != http.StatusNoContent {
				t.Error(code)
			}
		}
	})
	webhook.Handle(r, anything, func(context.Context, webhook.Event, any) error { return nil })
	wg.Wait()
}

func TestReceiverWithoutConfig(t *testing.T) {
	t.Parallel()
	r := webhook.NewReceiver(mustVerifier(t, nil, typedSecret), nil)
	calls := 0
	webhook.Handle(r, anything, func(context.Context, webhook.Event, any) error { calls++; return nil })
	e := anything.New("", nil)
	for range 2 {
		req := request(signedHeader(t, typedSecret, e.ID, e.Body), e.Body)
		req.Body = io.NopCloser(io.MultiReader(req.Body)) // any reader will do
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		require.Equal(t, http.StatusNoContent, w.Code)
	}
	require.Equal(t, 1, calls)
}
