package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/meshia/webhook"
)

// api is the service's HTTP interface: JSON in, JSON out, and {"error": "..."} with every status from 400 on.
//
//	400  the request is not what its handler's comment says
//	404  no such path; 405  no such method there
//	409  the id of another event; too many webhooks
//	413  the request, or an event in it, is too large
//	503  no room for more deliveries: nothing was stored, try again later
//
// An answer has every field of its form, with null where there is nothing to say.
type api struct {
	d     *webhook.Dispatcher
	types *webhook.Registry
	log   *slog.Logger
}

func newAPI(d *webhook.Dispatcher, types *webhook.Registry, log *slog.Logger) http.Handler {
	a := &api{d, types, log}
	mux := http.NewServeMux()
	route := func(method, path string, h handler) {
		mux.Handle(method+" "+path, a.answering(h))
		mux.Handle(path, a.answering(func(w http.ResponseWriter, _ *http.Request) (int, any, error) {
			w.Header().Set("Allow", method)
			return 0, nil, &refusal{http.StatusMethodNotAllowed, "use " + method}
		}))
	}
	route(http.MethodPost, "/webhooks", a.addWebhook)
	route(http.MethodPost, "/emit", a.emit)
	route(http.MethodGet, "/deliveries", a.deliveries)
	route(http.MethodGet, "/healthz", func(http.ResponseWriter, *http.Request) (int, any, error) {
		return http.StatusOK, map[string]string{"status": "ok"}, nil
	})
	mux.Handle("/", a.answering(func(http.ResponseWriter, *http.Request) (int, any, error) {
		return 0, nil, &refusal{http.StatusNotFound, "no such path"}
	}))

	// Whoever uses this machine has a browser, and the pages in it can reach a loopback address too.
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(a.answering(func(http.ResponseWriter, *http.Request) (int, any, error) {
		return 0, nil, &refusal{http.StatusForbidden, "the request comes from a page of another origin"}
	}))
	guarded := sameOrigin.Handler(mux)
	misdirected := a.answering(func(http.ResponseWriter, *http.Request) (int, any, error) {
		return 0, nil, &refusal{http.StatusMisdirectedRequest, "this service listens on a loopback address only: call it by that, or as localhost"}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ownName(r) {
			misdirected.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// ownName reports whether a request that came to a loopback address was made to one, or to localhost. A page may give
// its own name that address once it is loaded (DNS rebinding), and is then of the same origin.
func ownName(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !local.IP.IsLoopback() {
		return true
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return host == "localhost" || net.ParseIP(strings.Trim(host, "[]")) != nil
}

// handler returns what to answer.
type handler func(http.ResponseWriter, *http.Request) (status int, answer any, err error)

func (a *api) answering(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, answer, err := h(w, r)
		if err != nil {
			status = statusOf(err)
			answer = map[string]string{"error": message(err)}
			switch {
			case r.Context().Err() != nil: // nobody is there to read the answer
				a.log.Info("request abandoned", "method", r.Method, "path", r.URL.Path)
			case status == http.StatusServiceUnavailable:
				w.Header().Set("Retry-After", "5")
				a.log.Warn("store full", "error", err)
			case status == http.StatusInternalServerError:
				a.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
				answer = map[string]string{"error": "internal error"}
			}
		}
		var body bytes.Buffer
		enc := json.NewEncoder(&body)
		enc.SetEscapeHTML(false) // people read the log with curl
		if err := enc.Encode(answer); err != nil {
			a.log.Error("an answer does not marshal", "path", r.URL.Path, "error", err)
			http.Error(w, `{"error":"internal error"}`, http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff") // request and response bodies are in it, whatever they are
		w.WriteHeader(status)
		_, _ = w.Write(body.Bytes()) // a client that has gone is not the service's affair
	})
}

// refusal is an error of the request's.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func badRequest(format string, args ...any) error {
	return &refusal{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func statusOf(err error) int {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return refused.status
	case errors.Is(err, webhook.ErrEventTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, webhook.ErrInvalidEvent), errors.Is(err, webhook.ErrInvalidEndpoint), errors.Is(err, webhook.ErrInvalidCursor):
		return http.StatusBadRequest
	case errors.Is(err, webhook.ErrConflict), errors.Is(err, webhook.ErrTooManyEndpoints):
		return http.StatusConflict
	case errors.Is(err, webhook.ErrStoreFull):
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// message is the error on one line, without the name of the package, which says nothing to whoever made the request.
func message(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "webhook: ")
	}
	return strings.Join(lines, "; ")
}

// readBody reads a request's body of at most limit bytes. JSON is UTF-8 (RFC 8259, section 8.1), which encoding/json
// does not check.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is over %d bytes", limit)}
	case err != nil:
		return nil, badRequest("the body could not be read")
	case !utf8.Valid(body):
		return nil, badRequest("the body is not UTF-8")
	default:
		return body, nil
	}
}

// decode reads one JSON document that has no field which into does not have, and nothing after it.
func decode(body []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return badRequest("the body is empty")
	case errors.As(err, &mistyped) && mistyped.Field == "":
		return badRequest("the body is not a JSON object")
	case errors.As(err, &mistyped):
		return badRequest("%q must not be a JSON %s", mistyped.Field, mistyped.Value)
	case err != nil:
		return badRequest("not the JSON expected: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badRequest("something follows the JSON document")
	}
	return nil
}
