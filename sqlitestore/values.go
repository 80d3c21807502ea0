package sqlitestore

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/meshia/webhook"
)

// micros is how times are stored: NULL for the zero time.
func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// stamp reads a stored time.
type stamp struct{ to *time.Time }

func (s stamp) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*s.to = time.Time{}
	case int64:
		*s.to = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("a stored time is a %T", v)
	}
	return nil
}

// span reads a stored number of microseconds.
type span struct{ to *time.Duration }

func (s span) Scan(v any) error {
	us, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a stored duration is a %T", v)
	}
	*s.to = time.Duration(us) * time.Microsecond
	return nil
}

// some is NULL for 0, which is no moment that the store's clock shows.
func some(at int64) any {
	if at == 0 {
		return nil
	}
	return at
}

// marshal encodes what always can be encoded: strings, their slices and maps.
func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// header is NULL for none.
func header(h http.Header) any {
	if h == nil {
		return nil
	}
	return marshal(h)
}

// unmarshal decodes a stored document; nil stays nothing.
func unmarshal(text *string, to any) error {
	if text == nil {
		return nil
	}
	return json.Unmarshal([]byte(*text), to)
}

// storedSecret is a webhook.StoredSecret as it is written.
type storedSecret struct {
	ID        string `json:"id"`
	Sealed    []byte `json:"sealed"`
	CreatedAt *int64 `json:"created_at,omitempty"`
	ExpiresAt *int64 `json:"expires_at,omitempty"`
}

func secretsOut(list []webhook.StoredSecret) string {
	at := func(t time.Time) *int64 {
		if t.IsZero() {
			return nil
		}
		us := t.UnixMicro()
		return &us
	}
	out := make([]storedSecret, len(list))
	for i, s := range list {
		out[i] = storedSecret{s.ID, s.Sealed, at(s.CreatedAt), at(s.ExpiresAt)}
	}
	return marshal(out)
}

func secretsIn(text string) ([]webhook.StoredSecret, error) {
	var in []storedSecret
	if err := json.Unmarshal([]byte(text), &in); err != nil || len(in) == 0 {
		return nil, err
	}
	at := func(us *int64) time.Time {
		if us == nil {
			return time.Time{}
		}
		return time.UnixMicro(*us).UTC()
	}
	list := make([]webhook.StoredSecret, len(in))
	for i, s := range in {
		list[i] = webhook.StoredSecret{ID: s.ID, Sealed: s.Sealed, CreatedAt: at(s.CreatedAt), ExpiresAt: at(s.ExpiresAt)}
	}
	return list, nil
}

// storedHeader is a webhook.StoredHeader as it is written.
type storedHeader struct {
	Name   string `json:"name"`
	Sealed []byte `json:"sealed"`
}

func headersOut(list []webhook.StoredHeader) string {
	out := make([]storedHeader, len(list))
	for i, h := range list {
		out[i] = storedHeader{h.Name, h.Sealed}
	}
	return marshal(out)
}

func headersIn(text string) ([]webhook.StoredHeader, error) {
	var in []storedHeader
	if err := json.Unmarshal([]byte(text), &in); err != nil || len(in) == 0 {
		return nil, err
	}
	list := make([]webhook.StoredHeader, len(in))
	for i, h := range in {
		list[i] = webhook.StoredHeader{Name: h.Name, Sealed: h.Sealed}
	}
	return list, nil
}
