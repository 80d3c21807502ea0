package sqlitestore

import (
	"math"
	"time"

	"github.com/meshia/webhook"
)

var paceLane = statement(`UPDATE webhook_lanes SET pace_interval = ?, pace_burst = ? WHERE endpoint = ?`)

// ahead is how far ahead of now the moment of the lane's pace lies.
func (t *txn) ahead(l *lane) time.Duration {
	return time.Duration(max(0, l.paced-t.at)) * time.Microsecond
}

// allowance is how many leases more a claim may give: as many as the window has room for and the rate lets go.
func (t *txn) allowance(l *lane) int {
	if !l.limited {
		return l.room()
	}
	return min(l.room(), l.pace.Room(t.ahead(l)))
}

// serve notes that a claim leases a delivery.
func (t *txn) serve(l *lane, again bool) {
	l.leases++
	l.served, l.servedFirst = t.at, !again
	if l.limited {
		l.paced = t.in(l.pace.Ahead(t.ahead(l), 1))
	}
	t.unwait(l)
}

// setPace changes the endpoint's pace. The endpoint stays ahead of it by as many leases as before, but by no more than
// a burst: so a lower rate brings no burst of its own, and a higher one does not wait for the old one. Without a rate
// nothing is reckoned and nothing forgotten.
func (t *txn) setPace(l *lane, pace webhook.Pace) error {
	l.limited = pace.Interval > 0
	t.touch(l)
	if !l.limited || pace == l.pace {
		return nil
	}
	if ahead := t.ahead(l); ahead > 0 {
		leases := min(float64(ahead)/float64(l.pace.Interval), float64(pace.Burst))
		l.paced = t.at + int64(math.Ceil(leases*float64(pace.Interval.Microseconds())))
	}
	l.pace = pace
	return t.run(paceLane, pace.Interval.Microseconds(), pace.Burst, l.key)
}
