package webhook_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/meshia/webhook"
)

// probe is a store whose calls are seen, and may be changed. What is nil is left alone.
type probe struct {
	webhook.Store
	enqueue func(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error)
	claim   func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error)
	record  func(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error)

	mu     sync.Mutex
	claims int
	kinds  [][]webhook.OutcomeKind // of each call of Record
}

func newProbe() *probe { return &probe{Store: webhook.NewMemoryStore(nil)} }

func (p *probe) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	if p.enqueue != nil {
		return p.enqueue(ctx, req)
	}
	return p.Store.Enqueue(ctx, req)
}

func (p *probe) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
	p.mu.Lock()
	p.claims++
	p.mu.Unlock()
	if p.claim != nil {
		return p.claim(ctx, req)
	}
	return p.Store.Claim(ctx, req)
}

func (p *probe) Record(ctx context.Context, outcomes []webhook.Outcome) ([]bool, error) {
	kinds := make([]webhook.OutcomeKind, len(outcomes))
	for i, o := range outcomes {
		kinds[i] = o.Kind
	}
	p.mu.Lock()
	p.kinds = append(p.kinds, kinds)
	p.mu.Unlock()
	if p.record != nil {
		return p.record(ctx, outcomes)
	}
	return p.Store.Record(ctx, outcomes)
}

// claimed is how often Claim was called.
func (p *probe) claimed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.claims
}

// recorded is what Record was called with.
func (p *probe) recorded() [][]webhook.OutcomeKind {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kinds
}

// logbook keeps what is logged.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// lines returns the lines that have text in them.
func (l *logbook) lines(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}
