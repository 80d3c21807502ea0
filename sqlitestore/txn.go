package sqlitestore

import (
	"context"
	"database/sql"
	"time"

	"github.com/meshia/webhook/internal/id"
)

// background is what statements within a transaction run with. Each of them is short, and to interrupt one that writes
// would end the whole transaction, which others share.
var background = context.Background()

// statements are prepared once on the writer's connections; a query is the index of one.
var statements []string

type query int

func statement(text string) query {
	statements = append(statements, text)
	return query(len(statements) - 1)
}

// readStatements are prepared once on the reader's connections.
var readStatements []string

func readStatement(text string) query {
	readStatements = append(readStatements, text)
	return query(len(readStatements) - 1)
}

// txn is a transaction that writes, and what it knows of the database as long as nobody else can change it.
type txn struct {
	tx       *sql.Tx
	prepared []*sql.Stmt // nil in a transaction of the caller's, which may be of another pool
	stmts    map[query]*sql.Stmt

	now     time.Time // one moment for all of it
	at      int64     // the same in microseconds
	created int64     // the last delivery's CreatedAt
	token   string    // of the leases that it gives, each to another delivery

	lanes   map[int64]*lane
	order   []*lane // those to be written, as they were first changed
	tallied []*lane // those with a tally
	wants   map[subscription][]int64
}

func newTxn(tx *sql.Tx, prepared []*sql.Stmt) *txn {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &txn{
		tx: tx, prepared: prepared, stmts: map[query]*sql.Stmt{},
		now: now, at: now.UnixMicro(), created: now.UnixMicro() - 1, token: id.New(""),
		lanes: map[int64]*lane{}, wants: map[subscription][]int64{},
	}
}

func (t *txn) stmt(q query) (*sql.Stmt, error) {
	if s := t.stmts[q]; s != nil {
		return s, nil
	}
	var s *sql.Stmt
	if t.prepared != nil {
		s = t.tx.StmtContext(background, t.prepared[q])
	} else {
		var err error
		if s, err = t.tx.PrepareContext(background, statements[q]); err != nil {
			return nil, err
		}
	}
	t.stmts[q] = s
	return s, nil
}

func (t *txn) exec(q query, args ...any) (sql.Result, error) {
	s, err := t.stmt(q)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(background, args...)
}

// run is exec for its effect alone.
func (t *txn) run(q query, args ...any) error {
	_, err := t.exec(q, args...)
	return err
}

func (t *txn) query(q query, args ...any) (*sql.Rows, error) {
	s, err := t.stmt(q)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(background, args...)
}

// row reads the one row that q returns into dest, or answers sql.ErrNoRows.
func (t *txn) row(q query, args []any, dest ...any) error {
	s, err := t.stmt(q)
	if err != nil {
		return err
	}
	return s.QueryRowContext(background, args...).Scan(dest...)
}

// in is the moment d after the transaction's, or the last there is.
func (t *txn) in(d time.Duration) int64 {
	return t.at + max(0, d).Microseconds() // 292 years and now fit
}

// each calls scan for every row and closes rows.
func each(rows *sql.Rows, err error, scan func() error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(); err != nil {
			return err
		}
	}
	return rows.Err()
}
