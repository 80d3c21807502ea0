// Package crashtest kills processes that emit and deliver, at named places and at random ones, breaks what lies between
// them and their store, and looks at what is left: nothing may be lost, invented, sent without a row in the log, or
// sent by two owners at once.
//
// A worker process (the command in the folder worker, built with the tag webhook_failpoint) emits events and delivers
// them from a SQLite file or a Postgres database with real syncs. It keeps a ledger of what it was told. The test is
// the receiver, and keeps a ledger of what it got. When all is quiet the two are held against what the store has in its
// log.
//
// A lease outlives its owner by up to the timeout and 15 seconds. Where an owner was killed, the tests move the end of
// its leases into the past in the database rather than wait for it: for everybody else that is the same as waiting, as
// the dead do not come back. One test stops a process instead, and continues it after its leases were moved: it finds
// what it would have found had it been stopped for longer.
//
// SOAK=1 lets the tests run long; WEBHOOK_CRASH_TIME sets how long the random kills go on then.
package crashtest
