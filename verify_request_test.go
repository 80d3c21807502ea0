package webhook_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"
)

func unixText(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

func request(header http.Header, body []byte) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/hook", bytes.NewReader(body))
	r.Header = header.Clone()
	return r
}
