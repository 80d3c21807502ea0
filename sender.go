package webhook

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/meshia/webhook/internal/failpoint"
	"github.com/meshia/webhook/internal/netguard"
)

// sender makes one attempt: it signs, posts, and reads the response within its bounds. It knows no store and never
// tries again.
type sender struct {
	transport   http.RoundTripper
	maxResponse int // bytes kept of a response's body, and of its header
	log         *slog.Logger
	proxied     bool // a proxy dials: what is seen of the network is the proxy's, and no endpoint's owner may read it
}

// A delivery that serves as the probe of a paused endpoint may have hundreds of attempts, and they are read together:
// of those after the first wellKept, less is kept of the response.
const (
	wellKept     = 50
	lateResponse = 512
)

const userAgent = "Meshia-Webhook/" + Version

// Why an attempt was cut off by this side, as causes of its context's end.
var (
	errStopped  = errors.New("the dispatcher was stopped")
	errTimedOut = errors.New("the exchange took too long")
)

// target is where an attempt goes and what signs it.
type target struct {
	url     *url.URL
	signing []signingKey // the secrets that are live, the oldest first
	headers []header     // the endpoint's own
}

type signingKey struct {
	id     string
	signer *Signer
}

// send makes the attempt that l gives the right to. It returns when the exchange is over, has timed out, or the line's
// parent has ended.
func (s *sender) send(out *line, l *Lease, to target) Attempt {
	now := time.Now()
	a := Attempt{Number: l.Delivery.AttemptCount, StartedAt: now.UTC()}

	body := l.Event.Body
	header, secretID := requestHeader(l, to, now)
	a.SecretID = secretID
	req := &http.Request{
		Method: http.MethodPost, URL: to.url, Host: to.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, ContentLength: int64(len(body)),
		// No GetBody: net/http would use it to send the request again by itself, and that request would have no row in
		// the log.
		Body: io.NopCloser(bytes.NewReader(body)),
	}
	if failpoint.Enabled {
		req.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body[:len(body)/2]), passing(failpoint.K10), bytes.NewReader(body[len(body)/2:])))
	}

	a.RequestHeader = logged(header, to.headers)
	out.open(now)
	defer out.close()
	// The round tripper, not a client around it: a client would follow redirects, and carry the signature to a host
	// that nobody registered.
	resp, err := s.transport.RoundTrip(req.WithContext(out.traced))
	switch {
	case err != nil:
		a.fail(out.exchange.classify(out.traced, err))
		if blocked := (*netguard.BlockedError)(nil); errors.As(err, &blocked) { // the log of attempts is the tenant's, and names no address
			s.log.LogAttrs(out.traced, slog.LevelWarn, "webhook: the guard refused an address", slog.String("tenant", l.Delivery.Tenant),
				slog.String("endpoint", l.Delivery.EndpointID), slog.String("refused", blocked.Detail()))
		}
	default:
		limit := s.maxResponse
		if a.Number > wellKept {
			limit = min(limit, lateResponse)
		}
		a.read(resp, limit)
	}
	a.Latency = time.Since(now)
	a.Phases, a.RemoteAddr = out.exchange.result()
	if s.proxied {
		a.RemoteAddr = ""
		if a.Error == ErrorTLS {
			a.Detail = failedHandshake
		}
	}
	return a
}

// passing is an empty reader at a place where the process may die.
type passing failpoint.Point

func (p passing) Read([]byte) (int, error) {
	failpoint.Pass(failpoint.Point(p))
	return 0, io.EOF
}

// logged is a request's header as it is logged: without the signatures, which could be replayed, and without the
// values of the endpoint's own headers. It is a map of its own, since the transport may read the request's after it has
// returned: a peer can answer before the request is written.
func logged(h http.Header, own []header) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		if name != keySignature && name != keyStandardSignature {
			kept[name] = values
		}
	}
	for i := range own {
		kept[own[i].name] = []string{redactedHeader}
	}
	return kept
}

const redactedHeader = "***"

// requestHeader is everything that goes over the wire beside the body, and the id of the secret that signed
// X-Meshia-Signature.
func requestHeader(l *Lease, to target, now time.Time) (http.Header, string) {
	live := to.signing
	h := make(http.Header, 8+len(to.headers))
	values := make([]string, 0, 8+len(to.headers)) // one allocation for all of them
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	for _, own := range to.headers { // first: whatever they are called, ours stand
		set(own.name, own.value)
	}
	set("Content-Type", "application/json")
	set("User-Agent", userAgent)
	set(keyID, l.Event.ID)
	set(keyTimestamp, strconv.FormatInt(now.Unix(), 10))
	set(HeaderDelivery, l.Delivery.ID)
	set(HeaderAttempt, strconv.Itoa(l.Delivery.AttemptCount))
	if len(live) == 0 {
		return h, ""
	}
	key := live[choose(live, l)]
	set(HeaderSignature, key.signer.Signature(l.Event.Body))
	standard := live[0].signer.StandardSignature(l.Event.ID, now, l.Event.Body)
	for _, k := range live[1:] {
		standard += " " + k.signer.StandardSignature(l.Event.ID, now, l.Event.Body)
	}
	set(keyStandardSignature, standard)
	return h, key.id
}

// choose says which secret signs X-Meshia-Signature, which has room for one. A receiver knows one of them, and may
// change from the old to the new at any moment: it is served with the one that it last accepted, at first the oldest,
// and a delivery that failed with one is tried again with the other.
func choose(live []signingKey, l *Lease) int {
	choice := 0
	for i, k := range live {
		if k.id == l.Endpoint.Health.AcceptedSecret {
			choice = i
		}
	}
	for i, k := range live {
		if k.id == l.LastSecret && len(live) > 1 {
			choice = (i + 1) % len(live)
		}
	}
	return choice
}

func (a *Attempt) fail(result AttemptResult, class ErrorClass, detail string) {
	a.Result, a.Error, a.Detail = result, class, clip(text(detail), 256) // a certificate's own words may be in it
}

// read takes the response in. Whether the delivery succeeded is decided by the status line: a body that is cut off
// after it changes nothing, as the receiver has answered by then.
func (a *Attempt) read(resp *http.Response, limit int) {
	defer resp.Body.Close()
	a.Status = resp.StatusCode
	a.ResponseHeader = clipHeader(resp.Header, limit)
	switch {
	case a.Status >= 200 && a.Status <= 299:
		a.Result = AttemptDelivered
	case a.Status >= 300 && a.Status <= 399:
		a.fail(AttemptFailed, ErrorRedirect, "answered "+strconv.Itoa(a.Status)+"; redirects are not followed")
	default:
		a.fail(AttemptFailed, ErrorStatus, "answered "+strconv.Itoa(a.Status))
	}
	failpoint.Pass(failpoint.K12)
	if resp.ContentLength == 0 {
		return
	}

	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if len(body) > limit {
		body, a.Truncated = cutRune(body[:limit]), true
	}
	a.ResponseBody = body
	if err != nil { // cut off, too slow, or not what its header announced: what came is kept
		a.Truncated = true
	}
}

// clip cuts s to limit bytes between runes.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return string(cutRune([]byte(s[:limit])))
}

// cutRune drops the first bytes of a rune that has lost its last ones.
func cutRune(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if tail := b[len(b)-i:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

// text is s with U+FFFD for what is not UTF-8 and for U+0000: see isText.
func text(s string) string {
	if isText(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// fieldCost is what a field of a header takes in memory beside its bytes, about. Without it thousands of empty ones
// would fit into a limit.
const fieldCost = 64

// clipHeader keeps the fields of h that fit into limit bytes, in no particular order where they do not all fit. Names
// are tokens (RFC 9110, section 5.1), values may come with any bytes and are kept as text.
func clipHeader(h http.Header, limit int) http.Header {
	size := 0
	clean := true
	for name, values := range h {
		for _, v := range values {
			size += fieldCost + len(name) + len(v)
			clean = clean && isText(v)
		}
	}
	if size <= limit && clean {
		return h
	}
	kept := make(http.Header, len(h))
	for name, values := range h {
		for _, v := range values {
			if limit -= fieldCost + len(name) + len(v); limit < 0 {
				return kept
			}
			kept[name] = append(kept[name], strings.Clone(text(v))) // a clone: v holds the whole header in memory
		}
	}
	return kept
}
