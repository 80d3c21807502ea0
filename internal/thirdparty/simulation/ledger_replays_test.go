package simulation

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/meshia/webhook"
)

// What is kept of replays: as they are to be, until they are pruned or erased.

// storedReplay reads a replay.
func (l *ledger) storedReplay(r *replay) (webhook.Replay, error) {
	all, err := l.store.Replays(context.Background(), r.Tenant, r.EndpointID)
	if i := slices.IndexFunc(all, func(other webhook.Replay) bool { return other.ID == r.ID }); i >= 0 {
		return all[i], err
	}
	return webhook.Replay{}, errors.Join(err, webhook.ErrNotFound)
}

func (l *ledger) sameReplay(got *webhook.Replay, want *replay) {
	differ := func(what string, g, w any) {
		if g != w {
			l.complain("REPLAY: %s has %s %v, not %v", want.name, what, g, w)
		}
	}
	differ("id", got.ID, want.ID)
	differ("tenant", got.Tenant, want.Tenant)
	differ("endpoint", got.EndpointID, want.EndpointID)
	differ("what failed", got.Failed, want.Failed)
	differ("what was missed", got.Missed, want.Missed)
	differ("who asked", got.AskedBy, want.AskedBy)
	differ("state", got.State, want.State)
	differ("looked at", got.Looked, want.Looked)
	differ("queued", got.Queued, want.Queued)
	differ("skipped", got.Skipped, want.Skipped)
	for what, at := range map[string][2]time.Time{
		"since": {got.Since, want.Since}, "until": {got.Until, want.Until}, "creation": {got.CreatedAt, want.CreatedAt},
		"end": {got.FinishedAt, want.FinishedAt}, "reached": {got.Reached, want.Reached},
	} {
		differ(what, at[0].UnixNano(), at[1].UnixNano())
	}
}

// compareReplays holds the replays that the store has against those that there are to be.
func (l *ledger) compareReplays() {
	for key, ep := range l.endpoints {
		if ep.erasing {
			continue // what is left of it cannot be said
		}
		got, err := l.store.Replays(context.Background(), key.tenant, key.id)
		if err != nil {
			l.complain("READ: %v", err)
			continue
		}
		if want := min(len(ep.replays), 100); len(got) != want {
			l.complain("LOST: endpoint %s has %d replays, and the store says %d", key.id, want, len(got))
			continue
		}
		for i := range got {
			l.sameReplay(&got[i], ep.replays[len(ep.replays)-1-i])
		}
	}
}

// orphaned ends the replay of an endpoint that was deleted, at once or with its next step, as the store says.
func (l *ledger) orphaned(ep *endpoint, now time.Time) {
	for _, r := range slices.Clone(l.replaying) {
		if r.at != ep {
			continue
		}
		if stored, err := l.storedReplay(r); err != nil {
			l.complain("LOST: %s: %v", r.name, err)
		} else if stored.State != webhook.ReplayRunning {
			l.endReplay(r, webhook.ReplayStopped, now)
		}
	}
}

// pruneReplays forgets the replays that a Prune has removed, and returns how many may go and are there.
func (l *ledger) pruneReplays(old func(time.Time, time.Duration) bool, age time.Duration) (left int) {
	for _, ep := range l.endpoints {
		if ep.erasing {
			continue
		}
		ep.replays = slices.DeleteFunc(ep.replays, func(r *replay) bool {
			if r.State == webhook.ReplayRunning || !old(r.FinishedAt, age) {
				return false
			}
			_, err := l.storedReplay(r)
			if err == nil {
				left++
			}
			return err != nil
		})
	}
	return left
}

// eraseReplays forgets those of an endpoint whose tenant is erased.
func (l *ledger) eraseReplays(ep *endpoint, tenant, id string, more bool) {
	ep.replays = nil
	l.replaying = slices.DeleteFunc(l.replaying, func(r *replay) bool { return r.at == ep })
	got, err := l.store.Replays(context.Background(), tenant, id)
	if err != nil {
		l.complain("READ: %v", err)
	}
	running := slices.ContainsFunc(got, func(r webhook.Replay) bool { return r.State == webhook.ReplayRunning })
	if len(got) > 0 && !more || running {
		l.complain("ERASE: endpoint %s of tenant %q has %d replays, and one runs: %t", id, tenant, len(got), running)
	}
}

// auditReplays demands that replays have ended.
func (l *ledger) auditReplays() {
	for _, r := range l.replaying {
		l.complain("STUCK: %s runs, and everything is well", r.name)
	}
	for _, ep := range l.endpoints {
		for _, r := range ep.replays {
			if r.State == webhook.ReplayDone && (r.Looked < r.Queued+r.Skipped || !r.Reached.Equal(r.Until)) {
				l.complain("REPLAY: %s is done, at %v of %v, and has queued %d and skipped %d of %d", r.name, r.Reached, r.Until, r.Queued, r.Skipped, r.Looked)
			}
		}
	}
}
