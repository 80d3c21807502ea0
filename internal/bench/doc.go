// Package bench holds benchmarks that need databases, other programs or other people's code: what the library costs and
// what it is worth beside plain net/http and beside a job queue. It is a module of its own, so that what it needs never
// enters the library's requirements.
//
// Machines differ and are never alone, so a benchmark reports ratios: what is compared is run in turn, round by round,
// in one run, and a ratio is the median of the rounds', with the smallest and the largest (-min, -max) beside it. The
// metric "mark" is what the ratio is meant to reach at least, or to stay under where it is a cost, and "goal" is what
// would be better still.
//
//	make bench BENCH=Walk
//	cd internal/bench && go test -run '^$' -bench . -short    # one small round of each, to see that they run
//
// Postgres servers and SQLite files are made below TMPDIR and write as real ones do: it must be on a disk.
package bench
