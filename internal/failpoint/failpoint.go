// Package failpoint ends the process at a named place in the walk of an event, so that tests can show what is left
// behind by a process that was killed there. It does so only in builds with the tag webhook_failpoint; in all others a
// passage compiles to nothing.
//
// The environment chooses the place: WEBHOOK_CRASH=K7:3 kills the process at its third passage of K7. Without a number
// the first passage counts.
package failpoint

// Point is a place where a process may die. Emit passes K0 to K5, the dispatcher K6 to K16, and the rest happens
// beside them.
type Point string

const (
	K0  Point = "K0"  // Enqueue, before its transaction begins
	K1  Point = "K1"  // after the events were inserted
	K2  Point = "K2"  // after the deliveries were inserted
	K3  Point = "K3"  // COMMIT was sent and is not acknowledged
	K4  Point = "K4"  // committed, before Enqueue returns
	K5  Point = "K5"  // before other dispatchers are woken
	K6  Point = "K6"  // Claim's statement was sent
	K7  Point = "K7"  // the claim is committed, nothing is dialled
	K8  Point = "K8"  // dialled, before TLS
	K9  Point = "K9"  // the request's header is written
	K10 Point = "K10" // half of the request's body is written
	K11 Point = "K11" // the receiver has the request, no response was read
	K12 Point = "K12" // the response's status was read, its body was not
	K13 Point = "K13" // Record, before its transaction begins
	K14 Point = "K14" // the outcome is written and not committed
	K15 Point = "K15" // the outcome's COMMIT was sent and is not acknowledged
	K16 Point = "K16" // the outcome is committed, its slot is still taken
	K17 Point = "K17" // Claim has logged a lost lease and not committed
	K18 Point = "K18" // Prune has removed rows and not committed
	K19 Point = "K19" // a migration's step has run and is not committed
	K20 Point = "K20" // an endpoint was judged or deleted and that is not committed
	K21 Point = "K21" // Run was told to stop, before it drains
)
