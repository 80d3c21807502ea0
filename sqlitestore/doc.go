// Package sqlitestore keeps webhooks in a SQLite file: endpoints, events, deliveries and the log of attempts survive
// the process, and several processes of one machine may share the file. It is pure Go (modernc.org/sqlite), without
// cgo.
//
//	store, err := sqlitestore.Open(ctx, "webhooks.db", nil)
//	d, err := webhook.NewDispatcher(store, nil)
//
// A service that has a SQLite database already gives it to [New], and emits in its own transactions with [Store.Tx].
//
// # What is guaranteed
//
// What Emit returned nil for is on the disk: the file is in WAL mode with synchronous=FULL, so that a commit returns
// when the disk has it, on macOS with a full fsync. With [New] the connections are the caller's; one that would lose
// commits is refused. What a disk that lies about its cache loses, no setting brings back.
//
// Calls that come together share a commit, so that many callers wait for the disk together and not one after the other:
// one caller alone is bound by the disk, many are not. A call that cannot be stored, or whose context ends, fails by
// itself.
//
// SQLite has one writer at a time. Reading never waits for it, and it never waits for readers. Who waits for the lock
// longer than Config.BusyTimeout gets [ErrBusy]. A disk that is full, or PRAGMA max_page_count, makes Emit fail with
// [webhook.ErrStoreFull]; nothing is half stored, and it works again when there is room.
//
// Times are those of the machine's clock. If it is set back, leases and waits last longer by as much; if it is set
// ahead, they end early.
//
// # One machine
//
// All processes that use a file must run on the machine that has it. Network file systems (NFS, SMB) and folders that
// are shared into several virtual machines break SQLite's locks and lose data. Processes see each other's events when
// their dispatchers poll (Config.Poll); nothing wakes them.
//
// A process that has the file open must not open it by other means than this driver, to copy it for example: closing it
// there drops SQLite's locks (https://sqlite.org/howtocorrupt.html, section 2.2).
//
// # The file
//
// Beside the file are its -wal and -shm: they are a part of it while it is open, and after a crash. Copy a live
// database with VACUUM INTO or SQLite's backup only; copying the file alone loses what is in the log. A store that is
// restored from a copy delivers again what the copy had not delivered yet.
//
// The file does not shrink when old rows are removed; their room is used again. VACUUM shrinks it, and locks out all
// writers meanwhile.
//
// # The schema
//
// All tables have names that begin with webhook_, so that they can live among others in one file. schema/1.sql
// describes them column by column: webhook_endpoints and webhook_subscriptions, which their owners change;
// webhook_lanes, with what dispatchers know of each endpoint; webhook_events, webhook_deliveries and webhook_attempts,
// the log; webhook_gaps, what was missed; webhook_hours, what became of attempts hour by hour; webhook_replays, what is
// sent again; webhook_schema, the version. They may be read by anyone, and written by the store only.
//
// Times are integers, in microseconds since 1970 UTC, an event's own time in seconds, and durations in nanoseconds,
// but for the interval of a rate, in microseconds.
// Later versions may add tables, columns and indexes. A newer library brings the schema up to date when it opens the
// file; an older one goes on with it as long as the schema says that it may, and is refused with [ErrSchema] otherwise.
package sqlitestore
