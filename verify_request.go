package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// VerifyRequest reads a request's body within the limit, verifies it and returns the event in it. The body can be read
// again afterwards, also when the request was refused. Errors: an [ErrNotVerified] that says why, [ErrNotAnEvent],
// [ErrBodyTooLarge], [ErrUnsupportedMedia], [ErrBodyConsumed], and what reading the body gave. The time that reading
// takes is for the server to limit (http.Server.ReadTimeout).
//
// Event.ID is the webhook-id header. The scheme [Standard] covers it; with a scheme that signs the body alone anybody
// may have written it, and it is empty where the header is missing or malformed.
func (v *Verifier) VerifyRequest(r *http.Request) (Event, error) { return v.admit(nil, r) }

// Middleware hands verified requests to next and answers the others itself, as a [Receiver] does. next finds the event
// with [EventFromContext] and can read the body again. Nothing about the reason for a refusal goes back to the caller;
// it goes to VerifierConfig.Logger.
func (v *Verifier) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, err := v.admitPost(w, r)
		if err != nil {
			answer(w, r, v.logger, e, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), eventKey{}, e)))
	})
}

type eventKey struct{}

// EventFromContext returns the event that [Verifier.Middleware] verified.
func EventFromContext(ctx context.Context) (Event, bool) {
	e, ok := ctx.Value(eventKey{}).(Event)
	return e, ok
}

func (v *Verifier) admitPost(w http.ResponseWriter, r *http.Request) (Event, error) {
	if r.Method != http.MethodPost {
		return Event{}, errMethod
	}
	return v.admit(w, r)
}

// admit is VerifyRequest; w, if there is one, closes the connection of a client that sends more than the limit.
func (v *Verifier) admit(w http.ResponseWriter, r *http.Request) (Event, error) {
	if err := checkMedia(r.Header); err != nil {
		return Event{}, err
	}
	body, err := v.read(w, r)
	if err != nil {
		return Event{}, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err := v.verify(r.Header, body); err != nil {
		return Event{}, err
	}
	id, err := single(r.Header, keyID)
	if err != nil || !isForeignID(id) {
		id = "" // the scheme does not cover it
	}
	e, err := ParseEvent(id, body)
	if err != nil {
		return Event{}, err
	}
	if err := v.checkAge(e); err != nil {
		return Event{}, err
	}
	return e, nil
}

// checkMedia wants JSON as it was sent. A body that something encoded for transport is refused before anything is
// decoded: its signature is over other bytes, and what it would decode to has no limit.
func checkMedia(header http.Header) error {
	types := header.Values("Content-Type")
	if len(types) != 1 {
		return fmt.Errorf("%w: there must be one Content-Type", ErrUnsupportedMedia)
	}
	media, _, err := mime.ParseMediaType(types[0])
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || media != "application/json" && !strings.HasSuffix(media, "+json") {
		return fmt.Errorf("%w: Content-Type must be application/json or end in +json", ErrUnsupportedMedia)
	}
	if strings.Join(header.Values("Content-Encoding"), "") != "" {
		return fmt.Errorf("%w: there must be no Content-Encoding", ErrUnsupportedMedia)
	}
	return nil
}

func (v *Verifier) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	const trusted = 64 << 10 // a length that is only announced gets no more memory than this
	if r.ContentLength > v.maxBody {
		return nil, v.tooLarge()
	}
	var body bytes.Buffer
	if r.Body != nil {
		body.Grow(int(min(max(r.ContentLength, 0), trusted)) + bytes.MinRead)
		_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, v.maxBody))
		var over *http.MaxBytesError
		switch {
		case errors.As(err, &over):
			return nil, v.tooLarge()
		case errors.Is(err, http.ErrBodyReadAfterClose):
			return nil, ErrBodyConsumed
		case err != nil:
			return nil, fmt.Errorf("webhook: reading the request's body: %w", err)
		}
	}
	if int64(body.Len()) < r.ContentLength { // a client that sends less than it announced is an error of reading
		return nil, fmt.Errorf("%w: %d of %d bytes were left", ErrBodyConsumed, body.Len(), r.ContentLength)
	}
	return body.Bytes(), nil
}

func (v *Verifier) tooLarge() error {
	return fmt.Errorf("%w: over %d bytes", ErrBodyTooLarge, v.maxBody)
}
