package webhook_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

const head = "HTTP/1.1 200 OK\r\n"

// zipBomb is 256 MiB of zeros in 256 KiB.
func zipBomb(t *testing.T) string {
	t.Helper()
	var one bytes.Buffer
	zip := gzip.NewWriter(&one)
	_, err := zip.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	return strings.Repeat(one.String(), 256) // members of one stream (RFC 1952, section 2.2)
}

// fault is something that a network, or who is at its other end, does to a request.
type fault struct {
	serve func(c *net.TCPConn)
	want  row
}

// What comes of most of them.
var (
	timedOut = row{undelivered, webhook.ErrorTimeout, 0, false}
	wasReset = row{undelivered, webhook.ErrorReset, 0, false}
	noHTTP   = row{undelivered, webhook.ErrorProtocol, 0, false}
	cutShort = row{delivered, "", 200, true}
	whole    = row{delivered, "", 200, false}
)

const (
	delivered   = webhook.AttemptDelivered
	undelivered = webhook.AttemptFailed
)

// cuts end the connection before the response has.
var cuts = map[string]fault{
	"closed without a response":            {func(c *net.TCPConn) { heard(c); c.Close() }, wasReset},
	"half closed without one":              {func(c *net.TCPConn) { heard(c); _ = c.CloseWrite() }, wasReset},
	"reset without a response":             {func(c *net.TCPConn) { heard(c); cut(c) }, wasReset},
	"reset within the request":             {func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 16)); cut(c) }, wasReset},
	"closed within the status line":        {func(c *net.TCPConn) { says("HTTP/1.1 2")(c); c.Close() }, noHTTP},
	"closed within the header":             {func(c *net.TCPConn) { says(head, "X-Half: ")(c); c.Close() }, wasReset},
	"closed after early hints":             {func(c *net.TCPConn) { says("HTTP/1.1 103 Early Hints\r\n\r\n")(c); c.Close() }, wasReset},
	"closed within the body":               {func(c *net.TCPConn) { says(head, "Content-Length: 5\r\n\r\n12")(c); c.Close() }, cutShort},
	"closed within a chunk":                {func(c *net.TCPConn) { says(head, "Transfer-Encoding: chunked\r\n\r\n5\r\n12")(c); c.Close() }, cutShort},
	"closed within a 503's body":           {func(c *net.TCPConn) { says("HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\n12")(c); c.Close() }, row{undelivered, webhook.ErrorStatus, 503, true}},
	"a body that ends with the connection": {func(c *net.TCPConn) { says(head, "\r\nall of it")(c); c.Close() }, whole},
}

// bombs are meant to take up memory.
func bombs(t *testing.T) map[string]fault {
	const gib, tenMiB = 1 << 30, 10 << 20
	poured := func(what, header, text string, n int) func(*net.TCPConn) {
		return func(c *net.TCPConn) {
			heard(c)
			_, _ = io.WriteString(c, header)
			if written := pour(c, text, n); written > n/2 {
				t.Errorf("%s: the sender took %d bytes", what, written)
			}
		}
	}
	zipped := zipBomb(t)
	long := strings.Repeat("x", 1<<10)
	return map[string]fault{
		"a body of 1 GiB":              {poured("length", head+fmt.Sprintf("Content-Length: %d\r\n\r\n", gib), long, gib), cutShort},
		"a body without end":           {poured("no length", head+"\r\n", long, gib), cutShort},
		"chunks without end":           {poured("chunks", head+"Transfer-Encoding: chunked\r\n\r\n", "400\r\n"+long+"\r\n", gib), cutShort},
		"a 500 with a body of 1 GiB":   {poured("500", "HTTP/1.1 500 No\r\n\r\n", long, gib), row{undelivered, webhook.ErrorStatus, 500, true}},
		"a header field of 10 MiB":     {poured("field", head+"X-Bomb: ", "x", tenMiB), noHTTP},
		"header fields of 10 MiB":      {poured("fields", head, "X-Bomb: "+long+"\r\n", tenMiB), noHTTP},
		"empty header fields":          {poured("empty", head, "X-:\r\n", tenMiB), noHTTP},
		"a field's name of 10 MiB":     {poured("name", head, "x", tenMiB), noHTTP},
		"a status line of 10 MiB":      {poured("status", "HTTP/1.1 200 ", "x", tenMiB), noHTTP},
		"early hints in a flood":       {poured("hints", "", "HTTP/1.1 103 Early Hints\r\n\r\n", tenMiB), noHTTP},
		"early hints that are large":   {poured("large hints", "", "HTTP/1.1 103 Early Hints\r\nLink: "+long+"\r\n\r\n", tenMiB), noHTTP},
		"a chunk's extension of 1 GiB": {poured("extension", head+"Transfer-Encoding: chunked\r\n\r\n5;", "x", gib), cutShort},
		"a trailer of 10 MiB":          {poured("trailer", head+"Transfer-Encoding: chunked\r\nTrailer: X-Bomb\r\n\r\n0\r\n", "X-Bomb: "+long+"\r\n", tenMiB), cutShort},
		"a compressed bomb":            {says(head, fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", len(zipped)), zipped), cutShort},
	}
}

// nonsense is not HTTP/1.1, or only nearly.
var nonsense = map[string]fault{
	"an invalid status line":      {says("HTTP/1.1 abc OK\r\n\r\n"), noHTTP},
	"a status of two digits":      {says("HTTP/1.1 20 OK\r\n\r\n"), noHTTP},
	"HTTP/0.9":                    {says("<html>hello</html>\r\n"), noHTTP},
	"a field without a colon":     {says(head, "X-Bad\r\n\r\n"), noHTTP},
	"a length that is none":       {says(head, "Content-Length: many\r\n\r\n"), noHTTP},
	"a length below zero":         {says(head, "Content-Length: -1\r\n\r\n"), noHTTP},
	"a length beyond all numbers": {says(head, "Content-Length: 99999999999999999999\r\n\r\n"), noHTTP},
	"two lengths":                 {says(head, "Content-Length: 1\r\nContent-Length: 2\r\n\r\n12"), noHTTP},
	"a coding that nobody asked":  {says(head, "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), noHTTP},
	"chunks that are none":        {says(head, "Transfer-Encoding: chunked\r\n\r\nzz\r\n12\r\n"), cutShort},
	"a chunk of 16 EiB":           {says(head, "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\n12\r\n"), cutShort},
	"a body shorter than its end": {func(c *net.TCPConn) { says(head, "Content-Length: 99\r\n\r\n12")(c); c.Close() }, cutShort},
	"a body longer than its end":  {says(head, "Content-Length: 2\r\nConnection: close\r\n\r\n12", "345"), whole},
	"HTTP/2 frames, then the end": {func(c *net.TCPConn) { says("\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x01")(c); c.Close() }, noHTTP},
}

// TestFaultsOfTheNetwork sends to a raw socket that does each of these, with a single slot: that an event for somebody
// else goes out afterwards shows that it is free again. It is not parallel: it counts the process's goroutines, and its
// heap.
func TestFaultsOfTheNetwork(t *testing.T) {
	for kind, faults := range map[string]map[string]fault{"cut": cuts, "bomb": bombs(t), "nonsense": nonsense} {
		for name, f := range faults {
			t.Run(kind+"/"+name, func(t *testing.T) {
				var connections atomic.Int64
				url := evil(t, func(c *net.TCPConn) {
					connections.Add(1)
					f.serve(c)
				})
				good := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
				defer good.Close()
				heap := watchHeap(t)
				r := realRig(t, inPlainText(&webhook.Config{Slots: 1, Timeout: soon}))
				r.run()
				bad, other := r.at(url, webhook.ExperimentCompleted.Name()), r.at(good.URL, webhook.PlanCompleted.Name())
				r.emit()
				d := r.settled(bad, 1)[0]
				require.Len(t, d.Attempts, 1)
				a := d.Attempts[0]
				require.Equal(t, f.want, rowOf(a), a.Detail)
				require.Equal(t, f.want.class == "", a.Detail == "")
				require.LessOrEqual(t, len(a.ResponseBody), 16<<10)
				size := 0
				for name, values := range a.ResponseHeader {
					size += len(name) + len(strings.Join(values, ""))
				}
				require.LessOrEqual(t, size, 16<<10)
				require.EqualValues(t, 1, connections.Load(), "one attempt is one request")

				require.NoError(t, r.d.Emit(r.ctx, webhook.PlanCompleted.New("", webhook.PlanCompletedData{})))
				require.Equal(t, webhook.DeliverySucceeded, r.settled(other, 1)[0].State, "the slot is free again")
				r.stop()
				nobodyLeft(t) // while the other end is still there
				require.Less(t, heap.growth(), int64(bombProof))
			})
		}
	}
}

// TestACompressedBombIsKeptAsItCame looks at what is in the log of it.
func TestACompressedBombIsKeptAsItCame(t *testing.T) {
	t.Parallel()
	zipped := zipBomb(t)
	url := evil(t, says(head, fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", len(zipped)), zipped))
	a := attemptAt(t, url, inPlainText(&webhook.Config{}))
	require.Equal(t, cutShort, rowOf(a))
	require.InDelta(t, 16<<10, len(a.ResponseBody), 4)
	require.Equal(t, zipped[:len(a.ResponseBody)], string(a.ResponseBody))
}

// TestAResetWithinTheBodyComesAfterTheStatus resets once the head has arrived: success was decided by then.
func TestAResetWithinTheBodyComesAfterTheStatus(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	url := evil(t, func(c *net.TCPConn) {
		says(head + "Content-Length: 5\r\n\r\n12")(c)
		<-arrived
		cut(c)
	})
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(url, "http://"))
	}}
	a := attemptAt(t, "http://example.com/", &webhook.Config{
		InsecureHTTP: true, UnguardedTransport: roundTripper(func(req *http.Request) (*http.Response, error) {
			return transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
				GotFirstResponseByte: func() { close(arrived) },
			})))
		}),
	})
	require.Equal(t, cutShort, rowOf(a), a.Detail)
	require.Equal(t, "12", string(a.ResponseBody))
}

// TestManyBombsAtOnce lets one go off on every slot. It is not parallel: it looks at the process's heap.
func TestManyBombsAtOnce(t *testing.T) {
	const slots = 256
	long := strings.Repeat("x", 1<<10)
	var at atomic.Int64
	url := evil(t, func(c *net.TCPConn) {
		heard(c)
		switch at.Add(1) % 3 {
		case 0:
			_, _ = io.WriteString(c, head+"\r\n")
			pour(c, long, 1<<30)
		case 1:
			_, _ = io.WriteString(c, head+"X-Bomb: ")
			pour(c, long, 10<<20)
		default:
			_, _ = io.WriteString(c, head)
			pour(c, "X-Bomb: "+long+"\r\n", 60<<10) // just not too large, and then the header does not end
		}
	})
	r := realRig(t, inPlainText(&webhook.Config{Slots: slots, MaxEndpoints: slots, Timeout: 2 * time.Second}))
	for i := range slots {
		r.at(fmt.Sprint(url, "/", i), webhook.AllEvents)
	}
	r.emit()
	heap := watchHeap(t)
	r.run()
	require.Eventually(t, func() bool {
		open, err := r.d.Deliveries(r.ctx, webhook.DeliveryFilter{State: webhook.DeliveryPending})
		require.NoError(t, err)
		leased, err := r.d.Deliveries(r.ctx, webhook.DeliveryFilter{State: webhook.DeliveryLeased})
		require.NoError(t, err)
		return len(open.Deliveries)+len(leased.Deliveries) == 0
	}, soon, 20*time.Millisecond)
	r.stop()
	nobodyLeft(t)
	t.Logf("the heap grew by %.1f MiB", float64(heap.growth())/(1<<20))
	require.Less(t, heap.growth(), int64(bombProof))
	rows := map[row]int{}
	for _, d := range r.deliveries(webhook.DeliveryFilter{}) {
		rows[rowOf(d.Attempts[0])]++
	}
	require.Len(t, rows, 3, "%v", rows)
}
