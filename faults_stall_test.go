package webhook_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
)

// patience is the time of attempts that nothing but their time ends. In it the status line of the other end must
// arrive, which takes a thousandth of it.
const patience = time.Second

// slowly hears a request out, writes text, and then more, byte by byte, over and over.
func slowly(text, more string, pace time.Duration) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		says(text)(c)
		drip(c, more, pace)
	}
}

// stalls are ended by nothing but the attempt's own time.
var stalls = map[string]fault{
	"accepts and says nothing": {func(*net.TCPConn) {}, timedOut},
	"reads and says nothing":   {says(), timedOut},
	"half a status line":       {says("HTTP/1.1 2"), timedOut},
	"half a header":            {says(head, "X-Half: "), timedOut},
	"HTTP/2 frames":            {says("\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), timedOut},
	"a header byte by byte":    {slowly(head, "X-Slow: 1\r\n", 10*time.Millisecond), timedOut},
	"early hints without end":  {slowly("", "HTTP/1.1 103 Early Hints\r\n\r\n", time.Millisecond), timedOut},
	"a 200 without its body":   {says(head, "Content-Length: 5\r\n\r\n"), cutShort},
	"a 200 with half a body":   {says(head, "Content-Length: 5\r\n\r\n12"), cutShort},
	"a body byte by byte":      {slowly(head+"\r\n", "x", 10*time.Millisecond), cutShort},
	"chunks byte by byte":      {slowly(head+"Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", 10*time.Millisecond), cutShort},
	"a trailer byte by byte":   {slowly(head+"Transfer-Encoding: chunked\r\n\r\n0\r\n", "X-Slow: 1\r\n", 10*time.Millisecond), cutShort},
	"a 500's body":             {slowly("HTTP/1.1 500 No\r\n\r\n", "x", 10*time.Millisecond), row{undelivered, webhook.ErrorStatus, 500, true}},
}

// TestFaultsThatTakeTime has an endpoint for each of these, and as many slots. Afterwards as many requests are under
// way at once as there are slots: all of them are free again. It is not parallel: it counts the process's goroutines.
func TestFaultsThatTakeTime(t *testing.T) {
	slots := len(stalls)
	var arrived sync.WaitGroup
	arrived.Add(slots)
	good := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived.Done()
		arrived.Wait()
	}))
	defer good.Close()
	r := realRig(t, inPlainText(&webhook.Config{Slots: slots, Timeout: soon}))
	before := int64(0) // those that were delivered though they took their time
	r.run()
	bad := map[string]webhook.Endpoint{}
	for name, f := range stalls {
		e, _, err := r.d.AddEndpoint(r.ctx, webhook.Endpoint{
			URL: evil(t, f.serve), Events: []string{webhook.ExperimentCompleted.Name()}, Secret: secretA, Timeout: patience,
		}, webhook.WithoutPing())
		require.NoError(t, err)
		bad[name] = e
		if f.want.result == delivered {
			before++
		}
		r.at(good.URL, webhook.PlanCompleted.Name())
	}
	r.emit()
	for name, e := range bad {
		d := r.settled(e, 1)[0]
		require.Len(t, d.Attempts, 1, name)
		a := d.Attempts[0]
		require.Equal(t, stalls[name].want, rowOf(a), name+": "+a.Detail)
		require.GreaterOrEqual(t, a.Latency, patience, name)
		require.Less(t, a.Latency, soon/2, name)
	}
	require.NoError(t, r.d.Emit(r.ctx, webhook.PlanCompleted.New("", webhook.PlanCompletedData{})))
	require.Eventually(t, func() bool { return r.d.Counts().Delivered == before+int64(slots) }, soon/2, 5*time.Millisecond, "all slots are free again")
	r.stop()
	nobodyLeft(t)
}

// TestAReceiverThatReadsNothing gets more than the kernel takes for it, so that the sender is stuck in its own write.
// It is not parallel: it counts the process's goroutines.
func TestAReceiverThatReadsNothing(t *testing.T) {
	r := realRig(t, inPlainText(&webhook.Config{Slots: 1, Timeout: patience, MaxEventBytes: 16 << 20}))
	r.run()
	bad := r.at(evil(t, func(c *net.TCPConn) { _ = c.SetReadBuffer(4 << 10) }), webhook.PlanCompleted.Name())
	require.NoError(t, r.d.Emit(r.ctx, webhook.PlanCompleted.New("", webhook.PlanCompletedData{PlanID: strings.Repeat("x", 12<<20)})))
	a := r.settled(bad, 1)[0].Attempts[0]
	require.Equal(t, timedOut, rowOf(a), a.Detail)
	r.stop()
	nobodyLeft(t)
}
