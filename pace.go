package webhook

import (
	"math"
	"time"
)

// Pace is an endpoint's Rate and Burst as stores reckon with them (the generic cell rate algorithm, ITU-T I.371): each
// endpoint has one moment, when all that was handed out will have been due at its rate. A moment in the past, or none,
// is now.
type Pace struct {
	Interval time.Duration // between two leases at the rate, in whole microseconds; 0: there is no rate
	Burst    int           // how many may be given at once
}

// Pace returns the endpoint's pace.
func (e *Endpoint) Pace() Pace {
	if e.Rate <= 0 {
		return Pace{}
	}
	burst := e.Burst
	if burst <= 0 {
		burst = int(math.Ceil(e.Rate))
	}
	interval := time.Duration(math.Round(1e6/e.Rate)) * time.Microsecond
	return Pace{Interval: max(interval, time.Microsecond), Burst: burst}
}

// Room is how many leases may be given now, where the endpoint's moment lies ahead of now by ahead (0 where it is in
// the past).
func (p Pace) Room(ahead time.Duration) int {
	if p.Interval <= 0 {
		return math.MaxInt32
	}
	return int(max(0, (time.Duration(p.Burst)*p.Interval-max(ahead, 0))/p.Interval))
}

// Wait is how long until Room is at least 1.
func (p Pace) Wait(ahead time.Duration) time.Duration {
	if p.Interval <= 0 {
		return 0
	}
	return max(0, max(ahead, 0)-time.Duration(p.Burst-1)*p.Interval)
}

// Ahead is how far ahead of now the moment lies after n leases more.
func (p Pace) Ahead(ahead time.Duration, n int) time.Duration {
	return max(ahead, 0) + time.Duration(n)*p.Interval
}
