package webhook_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// TestAConnectionThatIsCutWithinTheRequest is a reset and not a host that is out of reach, whatever the transport was
// at when it noticed.
func TestAConnectionThatIsCutWithinTheRequest(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(*net.TCPConn){
		"closed at once":            func(c *net.TCPConn) { c.Close() },
		"reset at once":             cut,
		"closed within the request": func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 16)); c.Close() },
		"reset within the request":  func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 16)); cut(c) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := evil(t, serve)
			r := realRig(t, inPlainText(&webhook.Config{Timeout: soon}))
			e := r.at(url, webhook.AllEvents)
			for _, size := range []int{10, 200 << 10} {
				for range 50 {
					d, err := r.d.SendTest(r.ctx, e.ID, webhook.PlanCompleted.New("", webhook.PlanCompletedData{PlanID: strings.Repeat("x", size)}))
					require.NoError(t, err)
					require.Equal(t, wasReset, rowOf(d.Attempts[0]), d.Attempts[0].Detail)
				}
			}
		})
	}
}

// TestACertificateOfOursIsWanted: with TLS 1.3 the refusal comes after the handshake.
func TestACertificateOfOursIsWanted(t *testing.T) {
	t.Parallel()
	cert, roots := certified(t, nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		url := evil(t, func(c *net.TCPConn) {
			secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: version})
			if secure.Handshake() == nil {
				_, _ = io.Copy(io.Discard, secure)
			}
		})
		a := attemptAt(t, strings.Replace(url, "http:", "https:", 1), loopback(&webhook.Config{Timeout: soon, RootCAs: roots}))
		require.Equal(t, row{undelivered, webhook.ErrorTLS, 0, false}, rowOf(a), a.Detail)
	}
}

// TestAnAttemptStartedThatDoesNotReturn blocks before the attempts of one endpoint. Their leases run out and they are
// claimed again, but never on every slot.
func TestAnAttemptStartedThatDoesNotReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, w := hooked(t, webhooktest.NewReceiver(t), func(c *webhook.Config) { c.Slots = 40 })
		r.run()
		release := make(chan struct{})
		t.Cleanup(func() { close(release) }) // before Run is waited for
		bad, good := r.endpoint("bad"), r.endpoint("good")
		w.stall = func(line string) {
			if strings.HasPrefix(line, "started "+bad.ID) {
				<-release
			}
		}
		for range 3 {
			for range 50 {
				r.emit()
			}
			time.Sleep(time.Hour)
		}
		require.Len(t, r.deliveries(webhook.DeliveryFilter{EndpointID: good.ID, State: webhook.DeliverySucceeded}), 150)
	})
}

// TestAnEventWithoutItsBodyIsNotSent: a signed request that says nothing would say what nobody emitted.
func TestAnEventWithoutItsBodyIsNotSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := newProbe()
		store.claim = func(ctx context.Context, req webhook.ClaimRequest) (webhook.Claimed, error) {
			claimed, err := store.Store.Claim(ctx, req)
			for i := range claimed.Leases {
				claimed.Leases[i].Event.Body = nil
			}
			return claimed, err
		}
		r := rigOn(t, store, webhooktest.NewReceiver(t), nil)
		r.endpoint("hook")
		r.emit()
		r.run()
		time.Sleep(tenMin)
		require.Empty(t, r.receiver.Requests())
		d := r.only()
		require.Equal(t, webhook.FailExhausted, d.Reason)
		require.Len(t, d.Attempts, 4)
		require.Equal(t, row{undelivered, webhook.ErrorInternal, 0, false}, rowOf(d.Attempts[0]))
		require.Equal(t, "the event's contents are gone", d.Attempts[0].Detail)
	})
}
