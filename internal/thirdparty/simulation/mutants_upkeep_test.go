package simulation

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// upkeepScript erases what waits, what is being sent and what was sent, and prunes: bodies first, then all that has
// finished.
func (w *world) upkeepScript(t failer) {
	n := w.start()
	key := w.add(n, "", []string{"*"}, secretText(1), true)
	other := w.add(n, "acme", []string{"*"}, webhook.Secret{}, false)
	w.emit(n, other.tenant, w.newEvent(0, "", "sess_1"))
	pass := func(d time.Duration) {
		time.Sleep(d)
		w.check(t)
	}
	pass(time.Minute)
	for _, m := range []mode{{name: "failing", status: 500}, {name: "hanging", hang: true}, modes[0]} {
		w.receiver(key, func(r *receiver) { r.mode = m })
		e := w.newEvent(0, "", "sess_1")
		w.emit(n, key.tenant, e)
		pass(time.Second)
		for _, d := range w.deliveries() {
			if d.event == e.ID {
				w.erase(n, d)
			}
		}
		pass(time.Minute)
	}
	w.emit(n, key.tenant, w.newEvent(0, "", "sess_1"))
	pass(5 * time.Second)
	w.prune(n, webhook.PruneRequest{Bodies: 2 * time.Minute, Max: 5})
	w.setEnabled(n, key, false)
	w.emit(n, key.tenant, w.newEvent(0, "", "sess_1"))
	w.setEnabled(n, key, true)
	w.receiver(key, func(r *receiver) { r.mode = mode{name: "failing", status: 500} })
	w.emit(n, key.tenant, w.newEvent(0, "", "sess_1"))
	pass(5 * time.Second)
	for range 10 {
		w.prune(n, webhook.PruneRequest{Deliveries: time.Second, Bodies: time.Second, Max: 10})
	}
	pass(time.Second)
	w.receiver(key, func(r *receiver) { r.mode = modes[0] })
	pass(10 * time.Minute)
	gone := w.add(n, "globex", []string{"*"}, webhook.Secret{}, false)
	w.receiver(gone, func(r *receiver) { r.mode = mode{name: "hanging", hang: true} })
	for range 3 {
		w.emit(n, "globex", w.newEvent(0, "", "sess_1"))
	}
	pass(time.Second)
	w.eraseTenant(n, "globex", 2)
	pass(time.Minute)
	w.finish(t)
}

func TestTheCheckerIsContentWithWhatIsRemoved(t *testing.T) {
	t.Parallel()
	require.Empty(t, judge(t, nil, (*world).upkeepScript))
}

func TestTheCheckerSeesWhatIsRemoved(t *testing.T) {
	t.Parallel()
	for _, mutant := range []struct {
		name  string
		wrong string
		is    func(*broken)
	}{
		{"a Prune that removes nothing", "PRUNE", func(b *broken) {
			b.prune = func(context.Context, webhook.PruneRequest) (webhook.PruneResult, error) {
				return webhook.PruneResult{}, nil
			}
		}},
		{"a Prune that finds everything old", "LOST", func(b *broken) {
			b.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
				req.Deliveries = 1
				return b.Store.Prune(ctx, req)
			}
		}},
		{"a Prune that finds every body old", "BODY", func(b *broken) {
			b.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
				req.Bodies = min(1, req.Bodies)
				return b.Store.Prune(ctx, req)
			}
		}},
		{"a Prune that ends too early", "PRUNE", func(b *broken) {
			b.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
				res, err := b.Store.Prune(ctx, req)
				res.More = false
				return res, err
			}
		}},
		{"gaps that stay", "PRUNE", func(b *broken) {
			kept := map[string][]webhook.Gap{}
			b.gaps = func(ctx context.Context, tenant, id string) ([]webhook.Gap, error) {
				gaps, err := b.Store.Gaps(ctx, tenant, id)
				if len(gaps) < len(kept[id]) {
					gaps = kept[id]
				}
				kept[id] = gaps
				return gaps, err
			}
			b.prune = func(ctx context.Context, req webhook.PruneRequest) (webhook.PruneResult, error) {
				if _, err := b.Gaps(ctx, "", "we_1"); err != nil { // what there was before
					return webhook.PruneResult{}, err
				}
				return b.Store.Prune(ctx, req)
			}
		}},
		{"an erasing that does nothing", "STORED", func(b *broken) {
			b.erase = func(context.Context, string, string) error { return nil }
		}},
		{"an erasing that comes back", "STORED", func(b *broken) {
			b.read = func(d *webhook.Delivery) {
				if d.Reason == webhook.FailErased && len(d.Attempts) == 1 {
					d.Attempts[0].ResponseBody = []byte("contents")
				}
			}
		}},
		{"a tenant of which something stays", "ERASE", func(b *broken) {
			b.purge = func(ctx context.Context, tenant string, most int) (bool, error) {
				_, err := b.Store.EraseTenant(ctx, tenant, most)
				return false, err
			}
		}},
		{"a tenant that takes others along", "LOST", func(b *broken) {
			b.purge = func(ctx context.Context, tenant string, most int) (bool, error) {
				if _, err := b.Store.EraseTenant(ctx, "acme", most); err != nil {
					return false, err
				}
				return b.Store.EraseTenant(ctx, tenant, most)
			}
		}},
	} {
		t.Run(mutant.name, func(t *testing.T) {
			t.Parallel()
			wrong := judge(t, throughBroken(mutant.is), (*world).upkeepScript)
			require.Contains(t, wrong, mutant.wrong+": ")
		})
	}
}
