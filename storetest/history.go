package storetest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshia/webhook"
)

const (
	promiseNewest = "The newest MUST come first: by CreatedAt, then by ID, both falling."
	promisePage   = "A page MUST have at most f.Limit rows."
	promiseCursor = "Following NextCursor MUST visit each delivery that was there at the first page, and still matches, exactly once, whatever is added meanwhile; NextCursor is empty after the last one."
	promiseForged = "A cursor that the store did not make MUST be answered with [ErrInvalidCursor]."
	promiseFilter = "Deliveries returns a page of the deliveries that match the filter, with their attempts."
	promiseInLog  = "Delivery returns a delivery with its attempts in order, or [ErrNotFound]."
)

var historyCases = []kase{
	{
		name:    "one delivery",
		promise: promiseInLog,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 1)
			for n := 1; n <= 3; n++ {
				l := c.one()
				c.record(retry(l, 0))
				c.numbered(c.delivery(l), n)
			}
			for _, id := range []string{"", "dlv_unknown", "%"} {
				_, err := c.store.Delivery(c.Context(), "t", id)
				c.notFound("Delivery", err)
				_, err = c.store.Event(c.Context(), "t", id)
				c.notFound("Event", err)
			}
		},
	},
	{
		name:    "the order",
		promise: promiseNewest,
		f: func(c *check) {
			for range 3 {
				c.endpoint("t")
			}
			for range 4 {
				c.emit("t", 3)
				c.pass()
			}
			for _, l := range c.claim(5) {
				c.record(outcome(l, webhook.OutcomeDelivered)) // which moves none of them
			}
			all := c.deliveries("t", webhook.DeliveryFilter{})
			equal(c, "deliveries", len(all), 36)
			c.want(slices.IsSortedFunc(all, func(a, b webhook.Delivery) int {
				if order := b.CreatedAt.Compare(a.CreatedAt); order != 0 {
					return order
				}
				return strings.Compare(b.ID, a.ID)
			}), "the deliveries are not in the order of CreatedAt and ID")
		},
	},
	{
		name:    "the size of a page",
		promise: promisePage,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", webhook.MaxPage+5)
			for limit, want := range map[int]int{1: 1, 7: 7, webhook.MaxPage: webhook.MaxPage, 0: webhook.MaxPage, webhook.MaxPage + 1: webhook.MaxPage, 1 << 30: webhook.MaxPage} {
				page, err := c.store.Deliveries(c.Context(), "t", webhook.DeliveryFilter{Limit: limit})
				c.ok(err)
				equal(c, fmt.Sprintf("rows of a page with limit %d", limit), len(page.Deliveries), want)
			}
		},
	},
	{name: "paging while deliveries arrive", promise: promiseCursor, f: paging},
	{
		name:    "the last page",
		promise: promiseCursor,
		f: func(c *check) {
			page, err := c.store.Deliveries(c.Context(), "t", webhook.DeliveryFilter{Limit: 2})
			c.ok(err)
			equal(c, "cursor of an empty list", page.NextCursor, "")
			c.endpoint("t")
			c.emit("t", 4)
			page, err = c.store.Deliveries(c.Context(), "t", webhook.DeliveryFilter{Limit: 2})
			c.ok(err)
			c.want(page.NextCursor != "", "the first of two pages has no cursor")
			page, err = c.store.Deliveries(c.Context(), "t", webhook.DeliveryFilter{Limit: 2, Cursor: page.NextCursor})
			c.ok(err)
			equal(c, "rows of the second page", len(page.Deliveries), 2)
			equal(c, "cursor of the last page", page.NextCursor, "")
		},
	},
	{
		name:    "cursors that the store did not make",
		promise: promiseForged,
		f: func(c *check) {
			c.endpoint("t")
			c.emit("t", 3)
			page, err := c.store.Deliveries(c.Context(), "t", webhook.DeliveryFilter{Limit: 1})
			c.ok(err)
			for _, cursor := range []string{"x", "0", "-1", "'", "%", "\x00", "dlv_", "!" + page.NextCursor, page.NextCursor + "!", strings.Repeat("A", 4096)} {
				_, err := c.store.Deliveries(c.Context(), "t", webhook.DeliveryFilter{Limit: 1, Cursor: cursor})
				c.fails(fmt.Sprintf("Deliveries with cursor %.20q", cursor), err, webhook.ErrInvalidCursor)
			}
		},
	},
	{name: "each filter", promise: promiseFilter, f: filters},
}

func paging(c *check) {
	for range 3 {
		c.endpoint("t")
	}
	c.emit("t", 7)
	want := map[string]bool{}
	for _, d := range c.deliveries("t", webhook.DeliveryFilter{}) {
		want[d.ID] = true
	}
	equal(c, "deliveries", len(want), 21)
	for _, limit := range []int{1, 2, 7, 20, 21} {
		seen := map[string]int{}
		f := webhook.DeliveryFilter{Limit: limit}
		for range 1000 {
			page, err := c.store.Deliveries(c.Context(), "t", f)
			c.ok(err)
			for _, d := range page.Deliveries {
				seen[d.ID]++
			}
			if f.Cursor = page.NextCursor; f.Cursor == "" {
				break
			}
			c.emit("t", 1)
		}
		equal(c, "cursor at the end", f.Cursor, "")
		for id := range want {
			equal(c, fmt.Sprintf("visits of a delivery with pages of %d", limit), seen[id], 1)
		}
		for id, n := range seen {
			c.want(n == 1, "delivery %s came %d times", id, n)
			want[id] = true // it is there before the next walk begins
		}
		for _, d := range c.deliveries("t", webhook.DeliveryFilter{}) {
			want[d.ID] = true
		}
	}
}

// filters holds each answer against all deliveries, filtered here.
func filters(c *check) {
	a, b := c.endpoint("t"), c.endpoint("t", subscribed(happened))
	c.emit("t", 3)
	leases := c.claim(3)
	c.record(outcome(leases[0], webhook.OutcomeDelivered), outcome(leases[1], webhook.OutcomeFailed))
	c.pass()
	middle := c.now()
	c.pass()
	other := c.event(ceased)
	c.enqueue(webhook.EnqueueRequest{Tenant: "t", Events: []webhook.Event{other}})
	c.pass()
	c.emit("t", 2)
	all := c.deliveries("t", webhook.DeliveryFilter{})
	equal(c, "deliveries", len(all), 11)
	third := all[2].CreatedAt
	c.want(third.After(middle), "CreatedAt does not rise: %v is not after %v", third, middle)
	for _, f := range []webhook.DeliveryFilter{
		{EndpointID: a.ID},
		{EndpointID: b.ID},
		{EndpointID: "we_unknown"},
		{EventID: other.ID},
		{EventID: leases[0].Event.ID},
		{EventType: happened},
		{EventType: ceased},
		{EventType: "storetest"},
		{State: webhook.DeliveryPending},
		{State: webhook.DeliveryLeased},
		{State: webhook.DeliverySucceeded},
		{State: webhook.DeliveryFailed},
		{Since: middle},
		{Until: middle},
		{Since: third},
		{Until: third},
		{Since: middle, Until: third},
		{EndpointID: a.ID, EventType: happened, State: webhook.DeliveryPending, Since: middle},
	} {
		var want []string
		for _, d := range all {
			if (f.EndpointID == "" || f.EndpointID == d.EndpointID) && (f.EventID == "" || f.EventID == d.EventID) &&
				(f.EventType == "" || f.EventType == d.EventType) && (f.State == "" || f.State == d.State) &&
				!d.CreatedAt.Before(f.Since) && (f.Until.IsZero() || d.CreatedAt.Before(f.Until)) {
				want = append(want, d.ID)
			}
		}
		for _, limit := range []int{2, webhook.MaxPage} {
			var got []string
			f.Limit, f.Cursor = limit, ""
			for range 20 {
				page, err := c.store.Deliveries(c.Context(), "t", f)
				c.ok(err)
				for _, d := range page.Deliveries {
					got = append(got, d.ID)
					equal(c, "attempts of a listed delivery", len(d.Attempts), attempts(d))
				}
				if f.Cursor = page.NextCursor; f.Cursor == "" {
					break
				}
			}
			c.want(slices.Equal(got, want), "filter %+v: got %v, want %v", f, got, want)
		}
	}
}

// attempts is how many attempts a delivery has in the log: a leased one's last is under way.
func attempts(d webhook.Delivery) int {
	if d.State == webhook.DeliveryLeased {
		return d.AttemptCount - 1
	}
	return d.AttemptCount
}
