package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/meshia/webhook/pgstore"
	"github.com/meshia/webhook/sqlitestore"
)

func open(ctx context.Context, where string) (*database, error) {
	switch kind, file, _ := strings.Cut(where, ":"); {
	case kind == "sqlite" && file != "":
		return openSQLite(ctx, file)
	case kind == "postgres":
		return openPostgres(ctx, where)
	}
	return nil, errors.New("-store is neither sqlite:FILE nor postgres:URL")
}

// openSQLite opens the file with what a store asks of it: see sqlitestore.New.
func openSQLite(ctx context.Context, file string) (*database, error) {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+
		"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	store, err := sqlitestore.New(ctx, db, nil)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &database{DB: db, store: store, outbox: store.Tx, close: func() error { return errors.Join(store.Close(), db.Close()) }}, nil
}

// openPostgres shares one pool between the store and the business's own code, which uses database/sql here.
func openPostgres(ctx context.Context, url string) (*database, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	if err := pgstore.Migrate(ctx, pool, nil); err != nil {
		pool.Close()
		return nil, fmt.Errorf("migrating: %w", err)
	}
	store, err := pgstore.New(ctx, pool, nil)
	if err != nil {
		pool.Close()
		return nil, err
	}
	db := stdlib.OpenDBFromPool(pool)
	return &database{DB: db, store: store, outbox: store.SQLTx, close: func() error {
		err := db.Close()
		pool.Close()
		return err
	}}, nil
}
