package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/pgstore"
	"github.com/meshia/webhook/sqlitestore"
)

// openStore opens the store that -store names, with its tables up to date; what it returns beside it closes it again.
func openStore(ctx context.Context, name string) (webhook.Store, func() error, error) {
	kind, where, _ := strings.Cut(name, ":")
	switch {
	case name == "memory":
		return webhook.NewMemoryStore(nil), func() error { return nil }, nil
	case kind == "sqlite" && where != "":
		s, err := sqlitestore.Open(ctx, where, nil)
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	case kind == "postgres" && where != "":
		return openPostgres(ctx, name)
	}
	return nil, nil, fmt.Errorf("-store %q is none of memory, sqlite:FILE and postgres:URL", kind)
}

func openPostgres(ctx context.Context, url string) (webhook.Store, func() error, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, nil, err // it says nothing of the password
	}
	// Any number of processes may start at once: one migrates, the others wait.
	if err := pgstore.Migrate(ctx, pool, nil); err != nil {
		pool.Close()
		return nil, nil, err
	}
	s, err := pgstore.New(ctx, pool, nil)
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return s, func() error { pool.Close(); return nil }, nil
}

// sealingKeys is the environment's variable with the keys that secrets are sealed with: ID:BASE64, several separated
// by commas, the newest first.
const sealingKeys = "WEBHOOK_SEALING_KEYS"

// sealer makes the sealer that the environment asks for, or none.
func sealer() (webhook.Sealer, error) {
	list := os.Getenv(sealingKeys)
	if list == "" {
		return nil, nil
	}
	var keys []webhook.SealingKey
	for _, pair := range strings.Split(list, ",") {
		id, key, _ := strings.Cut(pair, ":")
		keys = append(keys, webhook.SealingKey{ID: id, Key: webhook.NewSecret(key)})
	}
	s, err := webhook.NewAESSealer(keys...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sealingKeys, err)
	}
	return s, nil
}
