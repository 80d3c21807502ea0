package main

import (
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/webhooktest"
)

// A delivery from its first attempt to the last one, as it is seen from outside.
func TestRetriesAreInTheLog(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		added := r.addAll()
		start := time.Now()
		r.emit(stoppedEvent("evt_1"))
		synctest.Wait()

		log := r.log("event=session.stopped")
		require.Empty(t, log.NextCursor)
		require.Len(t, log.Deliveries, 1)
		d := log.Deliveries[0]
		require.Regexp(t, `^dlv_\w+$`, d.ID)
		require.Equal(t, "evt_1", d.EventID)
		require.Equal(t, "session.stopped", d.Event)
		require.Equal(t, added.ID, d.Webhook)
		require.Equal(t, "pending", d.State)
		require.Nil(t, d.Reason)
		require.Equal(t, start.UTC(), d.CreatedAt)
		require.Equal(t, string(r.receiver.Requests()[1].Body), *d.RequestBody)
		require.Len(t, d.Attempts, 1)
		require.Equal(t, 1, d.Attempts[0].Number)
		require.Equal(t, http.StatusInternalServerError, *d.Attempts[0].Status)
		require.Equal(t, "status: answered 500", *d.Attempts[0].Error)
		require.Equal(t, "no \uFFFD <b>", *d.Attempts[0].ResponseBody)
		near(t, 10*time.Second, d.NextAttemptAt.Sub(start))

		time.Sleep(10 * time.Minute)
		d = r.log("event=session.stopped").Deliveries[0]
		require.Equal(t, "succeeded", d.State)
		require.Nil(t, d.Reason)
		require.Nil(t, d.NextAttemptAt)
		require.Len(t, d.Attempts, 4)
		require.Nil(t, d.Attempts[1].Status)
		require.Nil(t, d.Attempts[1].ResponseBody)
		require.Equal(t, "reset: the connection was cut before a response came", *d.Attempts[1].Error)
		require.Equal(t, http.StatusTooManyRequests, *d.Attempts[2].Status)
		require.Equal(t, http.StatusOK, *d.Attempts[3].Status)
		require.Nil(t, d.Attempts[3].Error)
		require.Empty(t, *d.Attempts[3].ResponseBody)
		for i, wait := range []time.Duration{10 * time.Second, time.Minute, 6 * time.Minute} {
			near(t, wait, d.Attempts[i+1].StartedAt.Sub(d.Attempts[i].StartedAt))
			require.Equal(t, i+2, d.Attempts[i+1].Number)
		}
	}, webhooktest.Answer{}, webhooktest.Answer{Status: 500, Body: "no \xff <b>"}, webhooktest.Answer{Fault: webhooktest.Close}, webhooktest.Answer{Status: 429}, webhooktest.Answer{})
}

// near allows for the jitter of 20 %.
func near(t *testing.T, want, got time.Duration) {
	t.Helper()
	require.InEpsilon(t, want.Seconds(), got.Seconds(), 0.201)
}

func TestRetriesEnd(t *testing.T) {
	quick := func(c *webhook.Config) {
		c.Retry = config{retryInitial: 100 * time.Millisecond}.dispatcher(quiet).Retry
	}
	inBubble(t, quick, func(t *testing.T, r *rig) {
		r.addAll()
		r.emit(stoppedEvent("evt_1"))
		time.Sleep(6 * time.Second)
		d := r.log("state=failed").Deliveries[0]
		require.Equal(t, "exhausted", *d.Reason)
		require.Nil(t, d.NextAttemptAt)
		require.Len(t, d.Attempts, 4)
		near(t, 4300*time.Millisecond, d.Attempts[3].StartedAt.Sub(d.Attempts[0].StartedAt)) // 0.1 s + 0.6 s + 3.6 s
	}, webhooktest.Answer{}, webhooktest.Answer{Status: 500})
}

func TestFilters(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		first := r.addAll()
		second := r.add(`{"url":"https://example.com/down","events":["plan.completed"]}`)
		r.receiver.Script("/down", webhooktest.Answer{Status: http.StatusGone})
		r.emit(stoppedEvent("evt_1"))
		r.emit(`{"event":"plan.completed","data":{},"id":"evt_2"}`)
		synctest.Wait()

		of := func(query string) []string {
			l := r.log(query)
			return l.eventIDs()
		}
		require.Equal(t, []string{"evt_2", "evt_2", "evt_1"}, of("")[:3])
		require.Len(t, of(""), 5) // with two pings
		require.Equal(t, []string{"evt_1"}, of("event=session.stopped"))
		require.Equal(t, []string{"evt_2"}, of("webhook="+second.ID+"&event=plan.completed"))
		require.Equal(t, []string{"evt_2", "evt_1"}, of("webhook=" + first.ID)[:2])
		require.Equal(t, []string{"evt_2"}, of("state=failed"))
		require.Equal(t, []string{"evt_2", "evt_1"}, of("state=succeeded")[:2])
		require.Len(t, of("event=ping"), 2)
		require.Empty(t, of("state=pending"))
		require.Empty(t, of("state=leased"))
		require.Empty(t, of("webhook=we_unknown"))
		require.Len(t, of("webhook=&event=&state=&limit=&cursor="), 5) // empty is any
		require.Equal(t, "gone", *r.log("state=failed").Deliveries[0].Reason)
	})
}

func TestPagesWhileMoreComes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	hook := r.addAll()
	var want []string
	emit := func(n int) (id string) {
		id = "evt_" + strconv.Itoa(n)
		r.emit(stoppedEvent(id))
		return id
	}
	for n := range 7 {
		want = append([]string{emit(n)}, want...)
	}

	var got []string
	query := "event=session.stopped&limit=3&webhook=" + hook.ID
	page := r.log(query)
	for n := 100; ; n++ {
		got = append(got, page.eventIDs()...)
		if page.NextCursor == "" {
			break
		}
		require.Len(t, page.Deliveries, 3)
		emit(n)
		page = r.log(query + "&cursor=" + page.NextCursor)
	}
	require.Equal(t, want, got)
	page = r.log(query)
	require.Equal(t, "evt_101", page.Deliveries[0].EventID)
}

func TestPageSize(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	r.addAll()
	for n := range 210 {
		r.emit(stoppedEvent("evt_" + strconv.Itoa(n)))
	}
	require.Len(t, r.log("").Deliveries, 50)
	require.Len(t, r.log("limit=1").Deliveries, 1)
	require.Len(t, r.log("limit=200").Deliveries, 200)
}

func TestAnEmptyLog(t *testing.T) {
	t.Parallel()
	status, answer := newRig(t, nil, nil).do(http.MethodGet, "/deliveries", "")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"deliveries":[],"next_cursor":""}`, string(answer))
}

func TestDeliveriesRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	for query, want := range map[string]string{
		"status=failed":        `there is no parameter "status"`,
		"state=done":           `there is no state "done"`,
		"event=session.halted": `there is no event type "session.halted"`,
		"limit=0":              "limit must be a number from 1 to 200",
		"limit=-1":             "limit must be a number from 1 to 200",
		"limit=201":            "limit must be a number from 1 to 200",
		"limit=ten":            "limit must be a number from 1 to 200",
		"limit=1&limit=2":      `"limit" is given more than once`,
		"cursor=made-up":       "invalid cursor",
		"state=failed;limit=1": "the query is malformed",
		"webhook=%zz":          "the query is malformed",
		"state=failed&Limit=1": `there is no parameter "Limit"`,
	} {
		require.Contains(t, r.refused(http.StatusBadRequest, http.MethodGet, "/deliveries?"+query, ""), want, query)
	}
}

func TestABodyThatIsNoLongerStored(t *testing.T) {
	t.Parallel()
	d := newDelivery(&webhook.Delivery{ID: "dlv_1"}, nil)
	require.Nil(t, d.RequestBody)
	r := newRig(t, nil, nil)
	body, err := (&api{d: r.d}).body(t.Context(), "evt_gone")
	require.NoError(t, err)
	require.Nil(t, body)
}
