package webhook_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptrace"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// TestALineServesTheNextRequestUnlessADialMayBeUnderWay: what a dial that nobody waits for any more tells must not
// count as the next request's.
func TestALineServesTheNextRequestUnlessADialMayBeUnderWay(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration          // the request began,
		got   *httptrace.GotConnInfo // it got this connection
		same  bool
	}{
		"a kept connection":                           {0, &httptrace.GotConnInfo{Reused: true, WasIdle: true, IdleTime: time.Hour}, true},
		"one that was idle for just as long":          {time.Second, &httptrace.GotConnInfo{Reused: true, WasIdle: true, IdleTime: time.Second}, true},
		"one that became idle while a dial was begun": {time.Second, &httptrace.GotConnInfo{Reused: true, WasIdle: true, IdleTime: time.Second - 1}, false},
		"one that another request handed on":          {0, &httptrace.GotConnInfo{Reused: true, IdleTime: time.Hour}, false},
		"a new connection":                            {0, &httptrace.GotConnInfo{}, false},
		"none":                                        {0, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var traces []*httptrace.ClientTrace
				transport := roundTripper(func(req *http.Request) (*http.Response, error) {
					traces = append(traces, httptrace.ContextClientTrace(req.Context()))
					if len(traces) == 2 {
						if !c.same {
							traces[0].TLSHandshakeDone(tls.ConnectionState{}, errors.New("of the dial before"))
							traces[0].GotFirstResponseByte()
						}
						return nil, errors.New("no route")
					}
					time.Sleep(c.after)
					if c.got != nil {
						traces[0].GotConn(*c.got)
					}
					return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
				})
				r := newRig(t, webhooktest.NewReceiver(t), func(cfg *webhook.Config) { cfg.UnguardedTransport, cfg.Retry = transport, webhook.Schedule{} }).run()
				r.endpoint("hook")
				for range 2 { // one worker has both
					r.emit()
					time.Sleep(time.Minute)
					synctest.Wait()
				}
				require.Len(t, traces, 2)
				require.Equal(t, c.same, traces[0] == traces[1])
				all := r.deliveries(webhook.DeliveryFilter{})
				require.Len(t, all, 2)
				require.Equal(t, webhook.AttemptDelivered, all[0].Attempts[0].Result, all[0].Attempts[0].Detail)
				require.Equal(t, webhook.ErrorNetwork, all[1].Attempts[0].Error)
			})
		})
	}
}
