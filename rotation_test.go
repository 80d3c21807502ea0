package webhook_test

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// singleSecret is a receiver that knows one secret, as the documentation's function does, and answers 401 to what
// another one signed.
type singleSecret struct {
	secret   atomic.Pointer[string]
	verify   func(secret string, header http.Header, body []byte) error
	accepted atomic.Int64
}

func (s *singleSecret) knows(secret webhook.Secret) {
	text := secret.Reveal()
	s.secret.Store(&text)
}

func (s *singleSecret) answer(w http.ResponseWriter, r *http.Request) {
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil || s.verify(*s.secret.Load(), r.Header, body) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.accepted.Add(1)
}

func documented(secret string, header http.Header, body []byte) error {
	return webhook.Verify(body, header.Get(webhook.HeaderSignature), secret)
}

func standard(secret string, header http.Header, body []byte) error {
	v, err := webhook.NewVerifier([]string{secret}, &webhook.VerifierConfig{Scheme: webhook.Standard, RawSecret: true})
	if err != nil {
		return err
	}
	return v.Verify(header, body)
}

// TestAReceiverMaySwapItsSecretAtAnyMomentOfTheOverlap rotates under steady traffic and lets the receiver swap at one
// moment after the other: nothing is lost.
func TestAReceiverMaySwapItsSecretAtAnyMomentOfTheOverlap(t *testing.T) {
	for scheme, verify := range map[string]func(string, http.Header, []byte) error{"documented": documented, "standard": standard} {
		for swap := time.Duration(0); swap <= time.Hour; swap += 7 * time.Minute {
			t.Run(fmt.Sprint(scheme, " after ", swap), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					s := &singleSecret{verify: verify}
					s.knows(secretA)
					r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Handler: http.HandlerFunc(s.answer)}), func(c *webhook.Config) { c.Poll = time.Hour }).run()
					e := r.endpoint("hook")
					events := 0
					traffic := func(d time.Duration) {
						for range int(d / (30 * time.Second)) {
							r.emit()
							events++
							time.Sleep(30 * time.Second)
						}
					}
					traffic(5 * time.Minute)
					_, err := r.d.RotateSecret(r.ctx, e.ID, secretB, time.Hour)
					require.NoError(t, err)
					traffic(swap)
					s.knows(secretB)
					traffic(time.Hour - swap)
					traffic(10 * time.Minute) // the old secret is over
					time.Sleep(time.Hour)

					require.EqualValues(t, events, s.accepted.Load())
					for _, d := range r.deliveries(webhook.DeliveryFilter{}) {
						require.Equal(t, webhook.DeliverySucceeded, d.State)
						require.LessOrEqual(t, len(d.Attempts), 2, "one refusal tells which secret it is")
					}
				})
			})
		}
	}
}

func TestTheSecretsOfARotation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		third := webhook.NewSecret("the third")
		r := newRig(t, webhooktest.NewReceiver(t), nil).run()
		e := r.endpoint("hook")
		signers := func() (x webhook.Secret, live []webhook.Secret) {
			_, err := r.d.Ping(r.ctx, e.ID)
			require.NoError(t, err)
			got := r.receiver.Requests()
			q := got[len(got)-1]
			for _, s := range []webhook.Secret{secretA, secretB, third} {
				if documented(s.Reveal(), q.Header, q.Body) == nil {
					x = s
				}
				if standard(s.Reveal(), q.Header, q.Body) == nil {
					live = append(live, s)
				}
			}
			return x, live
		}
		rotate := func(s webhook.Secret, overlap time.Duration) webhook.Endpoint {
			after, err := r.d.RotateSecret(r.ctx, e.ID, s, overlap)
			require.NoError(t, err)
			return after
		}
		x, live := signers()
		require.Equal(t, secretA, x)
		require.Equal(t, []webhook.Secret{secretA}, live)

		after := rotate(secretB, time.Hour)
		require.Len(t, after.Secrets, 2)
		require.True(t, after.Secrets[0].ExpiresAt.Equal(time.Now().Add(time.Hour)))
		x, live = signers()
		require.Equal(t, secretA, x, "an overlap starts with the oldest")
		require.Equal(t, []webhook.Secret{secretA, secretB}, live)
		revealed, err := r.d.RevealSecret(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, secretB, revealed)

		rotate(third, time.Hour)
		x, live = signers()
		require.Equal(t, secretB, x)
		require.Equal(t, []webhook.Secret{secretB, third}, live, "one overlap at a time: the older one has ended")

		time.Sleep(time.Hour)
		x, live = signers()
		require.Equal(t, third, x)
		require.Equal(t, []webhook.Secret{third}, live, "the overlap is over by itself")

		rotate(secretA, time.Hour)
		_, err = r.d.FinishRotation(r.ctx, e.ID)
		require.NoError(t, err)
		x, live = signers()
		require.Equal(t, secretA, x)
		require.Equal(t, []webhook.Secret{secretA}, live, "finished early")
		_, err = r.d.FinishRotation(r.ctx, e.ID)
		require.NoError(t, err, "nothing to finish")

		rotate(secretB, 0)
		x, live = signers()
		require.Equal(t, secretB, x)
		require.Equal(t, []webhook.Secret{secretB}, live, "the old one leaked: it ends at once")
	})
}

func TestAnUnsignedEndpointGetsItsFirstSecret(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, webhooktest.NewReceiver(t), nil)
		e, _, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{URL: "https://example.com/", Events: []string{"*"}})
		require.NoError(t, err)
		require.Empty(t, r.receiver.Requests()[0].Header.Get(webhook.HeaderSignature))
		revealed, err := r.d.RevealSecret(r.ctx, e.ID)
		require.NoError(t, err)
		require.True(t, revealed.IsZero())
		_, err = r.d.FinishRotation(r.ctx, e.ID)
		require.NoError(t, err)
		e, err = r.d.RotateSecret(r.ctx, e.ID, secretA, time.Hour)
		require.NoError(t, err)
		require.Len(t, e.Secrets, 1)
		_, err = r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		q := r.receiver.Requests()[1]
		require.NoError(t, documented(secretA.Reveal(), q.Header, q.Body))
	})
}

func TestWhatARotationRefuses(t *testing.T) {
	t.Parallel()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(nil), &webhook.Config{Logger: quiet})
	require.NoError(t, err)
	e, _, err := d.AddEndpoint(t.Context(), webhook.Endpoint{URL: "https://example.com/", Events: []string{"*"}, Secret: secretA}, webhook.WithoutPing())
	require.NoError(t, err)
	for name, c := range map[string]struct {
		secret  webhook.Secret
		overlap time.Duration
		fields  []string
	}{
		"no secret":           {webhook.Secret{}, 0, []string{"secret"}},
		"a malformed secret":  {webhook.NewSecret("whsec_x"), 0, []string{"secret"}},
		"a negative overlap":  {secretB, -1, []string{"overlap"}},
		"an overlap too long": {secretB, 7*24*time.Hour + 1, []string{"overlap"}},
		"all of it":           {webhook.Secret{}, -1, []string{"secret", "overlap"}},
	} {
		_, err := d.RotateSecret(t.Context(), e.ID, c.secret, c.overlap)
		require.ErrorIs(t, err, webhook.ErrInvalidEndpoint, name)
		require.Equal(t, c.fields, fieldsOf(err), name)
	}
	_, err = d.RotateSecret(t.Context(), "we_unknown", secretB, 0)
	require.ErrorIs(t, err, webhook.ErrNotFound)
	_, err = d.Tenant("acme").RotateSecret(t.Context(), e.ID, secretB, 0)
	require.ErrorIs(t, err, webhook.ErrNotFound)
	_, err = d.RotateSecret(t.Context(), e.ID, secretB, 7*24*time.Hour)
	require.NoError(t, err)
}

func TestAPingWithinAnOverlapTriesBothSecrets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &singleSecret{verify: documented}
		s.knows(secretA)
		r := newRig(t, webhooktest.NewReceiver(t, webhooktest.Answer{Handler: http.HandlerFunc(s.answer)}), nil)
		e := r.endpoint("hook")
		_, err := r.d.RotateSecret(r.ctx, e.ID, secretB, time.Hour)
		require.NoError(t, err)
		s.knows(secretB)
		d, err := r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.DeliverySucceeded, d.State)
		require.Len(t, r.deliveries(webhook.DeliveryFilter{}), 2, "each of them is in the log")

		s.knows(webhook.NewSecret("neither"))
		d, err = r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.DeliveryFailed, d.State)
		require.Len(t, r.deliveries(webhook.DeliveryFilter{}), 4)

		time.Sleep(time.Hour)
		_, err = r.d.Ping(r.ctx, e.ID)
		require.NoError(t, err)
		require.Len(t, r.deliveries(webhook.DeliveryFilter{}), 5, "the overlap is over")
	})
}
