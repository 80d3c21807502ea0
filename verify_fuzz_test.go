package webhook_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshia/webhook"
)

// Whatever the headers say: a verifier whose key nobody knows accepts nothing, and one whose key is known accepts the
// one right text and nothing else.
func FuzzVerifyHeader(f *testing.F) {
	body := []byte(`{"event":"ping","timestamp":"2026-04-11T14:32:00Z","session_id":"","data":{}}`)
	now := unixText(time.Now())
	good := signedHeader(f, whsecSecret, "evt_1", body)
	for _, signature := range []string{good.Get(webhook.HeaderSignature), "", "sha256=", "sha1=00", "sha256=" + now} {
		f.Add(signature, "evt_1", now, good.Get(webhook.HeaderStandardSignature), body)
	}
	f.Add("", "a.b", "+1", "v1, v1a,x v1,"+now+"  v2,", []byte{0xff})
	f.Add(" ", "\x00", "99999999999999999999", "v1", []byte(nil))

	unknown := webhook.GenerateSecret().Reveal()
	known, err := webhook.NewSigner(webhook.NewSecret(whsecSecret))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, signature, id, timestamp, standardSignature string, body []byte) {
		header := http.Header{}
		header.Set(webhook.HeaderSignature, signature)
		header.Set(webhook.HeaderID, id)
		header.Set(webhook.HeaderTimestamp, timestamp)
		header.Set(webhook.HeaderStandardSignature, standardSignature)
		for _, scheme := range []webhook.Scheme{webhook.Meshia, webhook.Standard} {
			cfg := &webhook.VerifierConfig{Scheme: scheme}
			if err := mustVerifier(t, cfg, unknown, webhook.GenerateSecret().Reveal()).Verify(header, body); !errors.Is(err, webhook.ErrNotVerified) {
				t.Fatalf("%q: %v", scheme, err)
			}
		}
		right := known.Signature(body) == signature
		if err := mustVerifier(t, nil, whsecSecret).Verify(header, body); (err == nil) != right {
			t.Fatal(right, err)
		}
		if err := webhook.Verify(body, signature, whsecSecret); (err == nil) != right {
			t.Fatal(right, err)
		}
		standard := mustVerifier(t, &webhook.VerifierConfig{Scheme: webhook.Standard}, whsecSecret)
		if standard.Verify(header, body) != nil {
			return
		}
		for off := range 603 { // only the decimal digits of a time within the tolerance can have been signed; the clock may step on meanwhile
			at := time.Now().Add(time.Duration(off-301) * time.Second)
			if unixText(at) == timestamp && slices.Contains(strings.Split(standardSignature, " "), known.StandardSignature(id, at, body)) {
				return
			}
		}
		t.Fatal("verified what was not signed")
	})
}

func FuzzVerifyRequest(f *testing.F) {
	e := sampleEvent()
	good := signedHeader(f, whsecSecret, e.ID, e.Body)
	add := func(method, contentType, encoding string, length int64, body []byte) {
		f.Add(method, contentType, encoding, length, good.Get(webhook.HeaderSignature), good.Get(webhook.HeaderStandardSignature), body)
	}
	add("POST", "application/json", "", int64(len(e.Body)), e.Body)
	add("POST", "application/json; charset=\"", "gzip", -1, e.Body)
	add("GET", "", "", 0, nil)
	add("POST", "a/b+json;;", "", 1<<40, nil)
	add("POST", "application/json", "", -7, []byte("{"))

	allowed := []int{400, 401, 405, 413, 415, 500}
	f.Fuzz(func(t *testing.T, method, contentType, encoding string, length int64, signature, standardSignature string, body []byte) {
		r := &http.Request{Method: method, Header: http.Header{}, ContentLength: length}
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Content-Encoding", encoding)
		r.Header.Set(webhook.HeaderSignature, signature)
		r.Header.Set(webhook.HeaderStandardSignature, standardSignature)
		r.Header.Set(webhook.HeaderID, e.ID)
		r.Header.Set(webhook.HeaderTimestamp, unixText(time.Now()))
		for _, scheme := range []webhook.Scheme{webhook.Meshia, webhook.Standard} {
			v := mustVerifier(t, &webhook.VerifierConfig{Scheme: scheme, MaxBodyBytes: 1 << 10}, webhook.GenerateSecret().Reveal())
			r.Body = http.NoBody
			if len(body) > 0 {
				r.Body = nopCloser{bytes.NewReader(body)}
			}
			if got, err := v.VerifyRequest(r); err == nil || got.Type != "" {
				t.Fatal("verified without the key")
			}
			w := httptest.NewRecorder()
			webhook.NewReceiver(v, &webhook.ReceiverConfig{Logger: slog.New(slog.DiscardHandler)}).ServeHTTP(w, r)
			if !slices.Contains(allowed, w.Code) {
				t.Fatal(w.Code)
			}
		}
	})
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

// Nothing that arrives makes ParseEvent panic, and what this library makes arrives as it was made.
func FuzzParseEvent(f *testing.F) {
	f.Add("evt_1", sampleEvent().Body, "sess_1", []byte(`{"a":[1,2.50,null]}`), int64(1_775_917_920))
	f.Add("", []byte(`{"event":"x","timestamp":null}`), "\u2028\"<", []byte(` "a\u0000" `), int64(-62_135_596_800))
	f.Add("x", []byte("\xef\xbb\xbf{}"), "\xff", []byte("{\"\xff\":1e400}"), int64(253_402_300_800))
	registry := webhook.NewRegistry(anything)
	f.Fuzz(func(t *testing.T, id string, body []byte, session string, data []byte, unix int64) {
		if e, err := webhook.ParseEvent(id, body); err == nil {
			if e.ID != id || !bytes.Equal(e.Body, body) || e.Type == "" {
				t.Fatalf("%+v", e)
			}
		} else if !errors.Is(err, webhook.ErrNotAnEvent) {
			t.Fatal(err)
		}

		made, err := registry.Event(anything.Name(), session, data, webhook.WithTime(time.Unix(unix, 0)))
		if err != nil {
			return
		}
		got, err := webhook.ParseEvent(made.ID, made.Body)
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != made.ID || got.Type != made.Type || got.SessionID != made.SessionID || !got.Time.Equal(made.Time) ||
			!bytes.Equal(got.Body, made.Body) || !bytes.Equal(got.Data(), made.Data()) || got.Digest() != made.Digest() {
			t.Fatalf("made %+v, got %+v", made, got)
		}
	})
}
