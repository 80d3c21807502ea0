package webhooktest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// fakeStore accepts what it is told to. Every other method of a Store panics.
type fakeStore struct {
	webhook.Store
	result webhook.EnqueueResult
	err    error
	asked  []webhook.EnqueueRequest
}

func (s *fakeStore) Enqueue(_ context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	s.asked = append(s.asked, req)
	return s.result, s.err
}

func (s *fakeStore) Endpoints(context.Context, string) ([]webhook.Endpoint, error) {
	return []webhook.Endpoint{{ID: "ep_1"}}, nil
}

func emit(t *testing.T, s webhook.Store, tenant string, events ...webhook.Event) {
	t.Helper()
	_, err := s.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: tenant, Events: events})
	require.NoError(t, err)
}

func failed(id string) webhook.Event {
	return webhook.WorkflowFailed.New("sess_1", webhook.WorkflowFailedData{WorkflowID: "wf_" + id, Error: "exit 1"}, webhook.WithID(id))
}

func stopped(id string) webhook.Event {
	return webhook.SessionStopped.New("", webhook.SessionStoppedData{StoppedBy: webhook.StoppedByUser}, webhook.WithID(id))
}

func TestRecorderNotesWhatTheStoreAccepted(t *testing.T) {
	t.Parallel()
	store := &fakeStore{result: webhook.EnqueueResult{Queued: true}}
	r := webhooktest.Record(store)

	req := webhook.EnqueueRequest{Tenant: "a", Events: []webhook.Event{failed("1"), stopped("2")}, HandOver: &webhook.HandOver{Max: 3}}
	result, err := r.Enqueue(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, store.result, result)
	require.Equal(t, []webhook.EnqueueRequest{req}, store.asked)

	emit(t, r, "a", failed("1"), failed("3")) // 1 is known: the store keeps it once
	emit(t, r, "b", failed("1"))              // another tenant's

	store.err = errors.New("disk full")
	_, err = r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "a", Events: []webhook.Event{failed("4")}})
	require.ErrorIs(t, err, store.err)
	store.err = nil
	_, err = r.Enqueue(t.Context(), webhook.EnqueueRequest{Tenant: "a", Events: []webhook.Event{failed("5")}, Direct: &webhook.Direct{Kind: webhook.KindTest}})
	require.NoError(t, err)

	var ids []string
	for _, e := range r.Events() {
		ids = append(ids, e.ID)
	}
	require.Equal(t, []string{"1", "2", "3", "1"}, ids)
	require.Len(t, webhooktest.Emitted(t, r, webhook.WorkflowFailed), 3)
	require.Equal(t, "wf_3", webhooktest.Emitted(t, r, webhook.WorkflowFailed)[1].WorkflowID)
	require.Empty(t, webhooktest.Emitted(t, r, webhook.PlanCompleted))
	r.Events()[0].ID = "changed"
	require.Equal(t, "1", r.Events()[0].ID, "the caller's slice is its own")
}

func TestRecorderPassesOnTheRest(t *testing.T) {
	t.Parallel()
	endpoints, err := webhooktest.Record(&fakeStore{}).Endpoints(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, "ep_1", endpoints[0].ID)
}

// wakerStore wakes itself.
type wakerStore struct {
	fakeStore
	woken chan struct{}
}

func (s *wakerStore) Wake(context.Context) error { close(s.woken); return nil }

func (s *wakerStore) Wait(ctx context.Context) error {
	select {
	case <-s.woken:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestRecorderIsAWaker(t *testing.T) {
	t.Parallel()
	t.Run("as its store is", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := webhooktest.Record(&wakerStore{woken: make(chan struct{})})
			heard := make(chan error)
			go func() { heard <- r.Wait(t.Context()) }()
			time.Sleep(time.Hour)
			select {
			case err := <-heard:
				t.Fatalf("Wait returned %v before Wake was called", err)
			default:
			}
			require.NoError(t, r.Wake(t.Context()))
			require.NoError(t, <-heard)
		})
	})
	t.Run("for a store that is none", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := webhooktest.Record(&fakeStore{})
			require.NoError(t, r.Wake(t.Context()))
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			start := time.Now()
			require.ErrorIs(t, r.Wait(ctx), context.DeadlineExceeded)
			require.Equal(t, time.Hour, time.Since(start))
			require.ErrorIs(t, r.Wake(ctx), context.DeadlineExceeded)
		})
	})
}

func TestRequireEmitted(t *testing.T) {
	t.Parallel()
	r := webhooktest.Record(&fakeStore{})
	require.Equal(t, "webhooktest: want one workflow.failed to be emitted, got 0; nothing was emitted",
		failure(t, func(ft testing.TB) { webhooktest.RequireEmitted(ft, r, webhook.WorkflowFailed) }))
	webhooktest.RequireNotEmitted(t, r, webhook.WorkflowFailed)

	emit(t, r, "", stopped("1"), failed("2"))
	require.Equal(t, "wf_2", webhooktest.RequireEmitted(t, r, webhook.WorkflowFailed).WorkflowID)
	webhooktest.RequireNotEmitted(t, r, webhook.PlanCompleted)
	require.Equal(t, "webhooktest: want one plan.completed to be emitted, got 0; emitted was:\n\tsession.stopped 1\n\tworkflow.failed 2 (session sess_1)",
		failure(t, func(ft testing.TB) { webhooktest.RequireEmitted(ft, r, webhook.PlanCompleted) }))
	require.Equal(t, "webhooktest: want no session.stopped to be emitted, got 1; emitted was:\n\tsession.stopped 1\n\tworkflow.failed 2 (session sess_1)",
		failure(t, func(ft testing.TB) { webhooktest.RequireNotEmitted(ft, r, webhook.SessionStopped) }))

	emit(t, r, "", failed("3"))
	require.Contains(t, failure(t, func(ft testing.TB) { webhooktest.RequireEmitted(ft, r, webhook.WorkflowFailed) }), "want one workflow.failed to be emitted, got 2; emitted was:")
}

func TestEmittedFailsForDataOfAnotherType(t *testing.T) {
	t.Parallel()
	r := webhooktest.Record(&fakeStore{})
	emit(t, r, "", failed("1"))
	other := webhook.NewEventType("workflow.failed", "The same name with other data.", 7)
	require.Contains(t, failure(t, func(ft testing.TB) { webhooktest.Emitted(ft, r, other) }), "webhooktest: event 1: ")
}
