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

// TestReceiverSetVerifier goes on with a new secret: it keeps its handlers, and knows what it has handled.
func TestReceiverSetVerifier(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	calls := 0
	webhook.Handle(r, webhook.ExperimentCompleted, func(context.Context, webhook.Event, webhook.ExperimentCompletedData) error {
		calls++
		return nil
	})
	first, second := sampleEvent(), experiment()
	require.Equal(t, http.StatusNoContent, deliver(t, r, first).Code)
	r.SetVerifier(mustVerifier(t, nil, "another secret"))
	require.Equal(t, http.StatusUnauthorized, deliver(t, r, second).Code)
	r.SetVerifier(mustVerifier(t, nil, "another secret", typedSecret))
	require.Equal(t, http.StatusNoContent, deliver(t, r, second).Code)
	require.Equal(t, 2, calls)
	require.Equal(t, http.StatusNoContent, deliver(t, r, first).Code)
	require.Equal(t, 2, calls)
	require.Panics(t, func() { r.SetVerifier(nil) })
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
