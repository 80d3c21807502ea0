package pgstore_test

import (
	"context"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/pgstore"
)

// An event is stored in the transaction that it tells of.
func ExampleStore_Tx() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	if err := pgstore.Migrate(ctx, pool, nil); err != nil {
		log.Fatal(err)
	}
	store, err := pgstore.New(ctx, pool, nil)
	if err != nil {
		log.Fatal(err)
	}
	d, err := webhook.NewDispatcher(store, nil)
	if err != nil {
		log.Fatal(err)
	}

	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE experiments SET state = 'completed' WHERE id = $1`, "exp_def456"); err != nil {
			return err
		}
		return d.EmitTo(ctx, store.Tx(tx), webhook.ExperimentCompleted.New("sess_abc123", webhook.ExperimentCompletedData{ExperimentID: "exp_def456"}))
	})
	if err != nil {
		log.Fatal(err)
	}
	d.Wake(ctx) // dispatchers of all processes look at once
}
