package bench

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// runSink is a receiver that answers 200 to everything and counts. GET /seen?n=N answers the number once it is N at
// least.
func runSink() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	var seen atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hook", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen.Add(1)
		w.WriteHeader(http.StatusOK)
	})
	mux.HandleFunc("GET /seen", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for seen.Load() < n && r.Context().Err() == nil {
			time.Sleep(200 * time.Microsecond) // the requests that are counted must not pay for whoever waits
		}
		_, _ = fmt.Fprint(w, seen.Load())
	})
	_ = http.Serve(l, mux)
}

// sink is the receiver, in a process of its own.
type sink struct{ base string }

func startSink(tb testing.TB) *sink {
	tb.Helper()
	return &sink{"http://" + startChild(tb, "sink").hear(tb)}
}

// hook is where it takes requests.
func (s *sink) hook() string { return s.base + "/hook" }

// seen answers how many requests came, once it is n at least.
func (s *sink) seen(tb testing.TB, n int) int {
	tb.Helper()
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	res, err := client.Get(fmt.Sprintf("%s/seen?n=%d", s.base, n))
	require.NoError(tb, err, "waiting for %d requests", n)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(tb, err)
	count, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(tb, err)
	return count
}
