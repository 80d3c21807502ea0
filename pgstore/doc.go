// Package pgstore keeps webhook's endpoints, events, deliveries and attempts in Postgres 15 or later, for as many
// processes as there are:
//
//	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
//	err = pgstore.Migrate(ctx, pool, nil)
//	store, err := pgstore.New(ctx, pool, nil)
//	d, err := webhook.NewDispatcher(store, nil)
//
// # Events in your own transaction
//
// [Store.Tx] and [Store.SQLTx] let Dispatcher.EmitTo write into a transaction of yours, so that an event is stored if
// and only if what it tells of is. Such a transaction only inserts: it waits for no dispatcher and no other
// transaction that emits, unless that emits an event with the same id.
//
// # What is guaranteed
//
// When Emit returns nil, or your COMMIT does, the event is as safe as Postgres makes a commit: with fsync on and
// synchronous_commit on, which are its defaults, it outlives a crash of the machine. With synchronous_commit off the
// last fraction of a second may be lost, with all that was recorded in it: deliveries are then sent again. On a
// standby that is promoted, what was not replicated yet is lost as with any other table; synchronous_standby_names
// prevents it.
//
// An error of Emit that comes from a connection that broke says nothing about the event: it may be stored. Emit it
// again with the same id, which does nothing if it is.
//
// All times are by the database's clock. A window that Claim keeps (Health.Window) may be passed by what processes
// hand over to themselves in transactions that do not see each other yet: by one process's hand-overs at most. A rate
// (Endpoint.Rate) is never passed. A bound on backlogs (Config.MaxPending) is kept by claims: what is emitted until the
// next one comes is queued beyond it, and so are redeliveries that are asked for in the same moment.
//
// A replay begins when the transactions have ended that were writing events when it was asked for, so that it comes
// past no event that is not committed yet: one that stays open holds it up.
//
// # Connections
//
// A dispatcher that runs uses two connections of the pool at a time, Emit one more for all who call it at once. One
// connection beside the pool's number listens for other processes (LISTEN), as long as Run runs.
//
// Behind a proxy that pools transactions, such as pgbouncer, everything works but that: LISTEN needs a session.
// Dispatchers then find by polling (Config.Poll) what other processes emit, unless the pool goes to the database
// directly. Prepared statements need pgbouncer 1.21 with max_prepared_statements set, or default_query_exec_mode=exec
// in the pool's connection string. Settings that the store changes it changes for its own transactions (SET LOCAL).
//
// # Rights
//
// [Migrate] needs USAGE and CREATE on the schema; the tables then belong to its role. Everything else needs USAGE on
// the schema and SELECT, INSERT, UPDATE and DELETE on the tables, and so does a role that only emits: it may do
// without UPDATE and DELETE if it emits through Store.Tx or Store.SQLTx only.
//
// # Tables
//
// They are ten and a row with their version, described column by column in SCHEMA.md beside this file. Deliveries,
// lanes and the inbox are written all the time: leave autovacuum on, and beware of transactions that stay open for
// hours, which keep it from its work.
package pgstore
