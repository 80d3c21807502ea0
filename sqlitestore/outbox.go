package sqlitestore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

// Tx returns an outbox that writes into tx, for Dispatcher.EmitTo: the events are there when tx is committed, together
// with what else it wrote, and never were if it is rolled back. tx is a transaction on the same file, through the
// database that [New] was given or through another one; its connection is looked at as New says.
//
// SQLite has one writer, and from its first write until its end that is tx: begin it IMMEDIATE (_txlock=immediate), so
// that it waits for its turn where nothing has been read yet, and keep it short. One that read before it writes fails
// with [ErrBusy] if another was committed meanwhile.
//
// Nothing is sent before the commit, and no dispatcher hears of it: call Dispatcher.Wake after it, or the events wait
// for the next poll. A bound on backlogs is applied by the next claim: until then more may be queued.
//
// If Enqueue fails it has changed nothing in tx, which may go on. A HandOver is ignored, and Direct is refused with
// [ErrDirectInTx].
func (s *Store) Tx(tx *sql.Tx) webhook.Outbox {
	return &outbox{store: s, tx: tx, stmts: map[query]*sql.Stmt{}}
}

type outbox struct {
	store *Store
	tx    *sql.Tx
	stmts map[query]*sql.Stmt // end with tx
}

// Enqueue implements [webhook.Outbox].
func (o *outbox) Enqueue(ctx context.Context, req webhook.EnqueueRequest) (webhook.EnqueueResult, error) {
	result, err := o.enqueue(ctx, req)
	var r refusal
	if errors.As(err, &r) {
		err = r.error
	}
	return result, wrap("enqueue in a transaction", clear(err))
}

func (o *outbox) enqueue(ctx context.Context, req webhook.EnqueueRequest) (result webhook.EnqueueResult, err error) {
	if req.Direct != nil {
		return result, ErrDirectInTx
	}
	if ctx.Err() != nil {
		return result, ended(ctx)
	}
	req.HandOver = nil
	req.MaxPending = 0 // the next claim opens the gap: who opens one tells of it, and this transaction may be rolled back
	b, err := newBatch(req)
	if err != nil {
		return result, err
	}
	failpoint.Pass(failpoint.K0)
	if _, err := o.tx.ExecContext(background, `SAVEPOINT webhook_enqueue`); err != nil {
		return result, err
	}
	// The lock comes before the clock is read: else what waits for the lock is stored as of a time that a replay, or
	// the end of a gap, has left behind meanwhile.
	_, err = o.tx.ExecContext(background, `UPDATE webhook_schema SET version = version WHERE false`)
	if err == nil {
		t := newTxn(o.tx, nil)
		t.stmts = o.stmts
		if result, err = t.enqueue(b); err == nil {
			err = t.flush()
		}
	}
	if err == nil {
		// Not before: to ask is to read, after which a transaction that was not begun IMMEDIATE can come too late to
		// write.
		err = o.store.checkPragmas(background, o.tx)
	}
	if err != nil {
		// Where SQLite has ended the transaction by itself there is no savepoint any more, and nothing to undo.
		_, _ = o.tx.ExecContext(background, `ROLLBACK TO webhook_enqueue; RELEASE webhook_enqueue`)
		return webhook.EnqueueResult{}, err
	}
	_, err = o.tx.ExecContext(background, `RELEASE webhook_enqueue`)
	return result, err
}
