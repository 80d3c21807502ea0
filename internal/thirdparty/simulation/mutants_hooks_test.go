package simulation

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

func TestTheCheckerSeesWhatHooksAreTold(t *testing.T) {
	t.Parallel()
	for _, mutant := range []struct {
		name  string
		wrong string
		is    func(*settings)
	}{
		{"a delivery that nobody is told of", "HOOK", throughConfig(func(c *webhook.Config) { c.Hooks.Delivered = nil })},
		{"a failure that nobody is told of", "HOOK", throughConfig(func(c *webhook.Config) { c.Hooks.GivenUp = nil })},
		{"an attempt that is not announced", "HOOK", throughConfig(func(c *webhook.Config) { c.Hooks.AttemptStarted = nil })},
		{"an attempt whose end nobody is told of", "HOOK", throughConfig(func(c *webhook.Config) { c.Hooks.AttemptEnded = nil })},
		{"a pause that nobody is told of", "HOOK", throughConfig(func(c *webhook.Config) { c.Hooks.EndpointPaused = nil })},
		{"a warning that is told of twice", "HOOK", throughConfig(func(c *webhook.Config) {
			told := c.Hooks.EndpointFailing
			c.Hooks.EndpointFailing = func(ctx context.Context, e webhook.EndpointChange) { told(ctx, e); told(ctx, e) }
		})},
		{"a full backlog that no hook tells of", "HOOK", throughConfig(func(c *webhook.Config) { c.Hooks.GapOpened = nil })},
		{"a gap that is told of twice", "HOOK", throughConfig(func(c *webhook.Config) {
			told := c.Hooks.GapOpened
			c.Hooks.GapOpened = func(ctx context.Context, of webhook.EndpointRef, why webhook.GapReason) {
				told(ctx, of, why)
				if why != webhook.GapBacklog {
					told(ctx, of, why)
				}
			}
		})},
		{"an event that no hook tells of", "HOOK", throughConfig(func(c *webhook.Config) { c.Hooks.Emitted = nil })},
		{"a delivery that is told of twice", "HOOK", throughConfig(func(c *webhook.Config) {
			told := c.Hooks.Delivered
			c.Hooks.Delivered = func(ctx context.Context, a webhook.AttemptInfo) { told(ctx, a); told(ctx, a) }
		})},
		{"a pause that is told of twice", "HOOK", throughConfig(func(c *webhook.Config) {
			told := c.Hooks.EndpointPaused
			c.Hooks.EndpointPaused = func(ctx context.Context, e webhook.EndpointChange) { told(ctx, e); told(ctx, e) }
		})},
		{"a delivery that is told of before it is recorded", "HOOK", throughConfig(func(c *webhook.Config) { c.Hooks.AttemptStarted = c.Hooks.Delivered })},
		{"a failure that is told of with each attempt", "HOOK", throughConfig(func(c *webhook.Config) {
			ended, failed := c.Hooks.AttemptEnded, c.Hooks.GivenUp
			c.Hooks.AttemptEnded = func(ctx context.Context, a webhook.AttemptInfo) {
				ended(ctx, a)
				if a.Attempt.Result == webhook.AttemptFailed {
					failed(ctx, a)
				}
			}
		})},
		{"hooks that hold every slot", "STALL", func(s *settings) {
			s.Slots = 2
			s.breakConfig = func(c *webhook.Config) {
				c.TenantSlots = 2
				c.Hooks.AttemptEnded = func(context.Context, webhook.AttemptInfo) { time.Sleep(time.Minute) }
			}
			s.Hooks = roughHooks
		}},
	} {
		t.Run(mutant.name, func(t *testing.T) {
			t.Parallel()
			wrong := judge(t, func(s *settings) {
				soon(s)
				mutant.is(s)
			}, (*world).servedScript)
			require.Contains(t, wrong, mutant.wrong+": ")
		})
	}
}
