package pgstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/internal/failpoint"
)

// Errors of [New] and [Migrate] about the tables as they are in the database.
var (
	// ErrSchemaMissing says that the tables are not there. Run [Migrate].
	ErrSchemaMissing = errors.New("the tables are missing")
	// ErrSchemaTooOld says that the tables are of an earlier version than this library needs. Run [Migrate].
	ErrSchemaTooOld = errors.New("the tables are of an earlier version")
	// ErrSchemaTooNew says that the tables were migrated by a later version of the library, and that this one can no
	// longer use them.
	ErrSchemaTooNew = errors.New("the tables are of a later version")
)

// Config says where the tables are. The zero value of each field is its default.
type Config struct {
	// Schema is the schema that the tables are in. It must exist. Defaults to the first one of the connection's
	// search_path that does, which is mostly "public". At most 63 bytes.
	Schema string
	// TablePrefix is what the names of the tables begin with: [a-z_][a-z0-9_]*, at most 32 bytes. Stores with
	// different prefixes are strangers to each other. Defaults to "webhook_".
	TablePrefix string
}

var prefixForm = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,31}$`)

func (cfg *Config) withDefaults() (Config, error) {
	var c Config
	if cfg != nil {
		c = *cfg
	}
	if c.TablePrefix == "" {
		c.TablePrefix = "webhook_"
	}
	var errs []error
	if !prefixForm.MatchString(c.TablePrefix) {
		errs = append(errs, fmt.Errorf("%w: TablePrefix must match [a-z_][a-z0-9_]* and have at most 32 bytes", webhook.ErrInvalidConfig))
	}
	if len(c.Schema) > 63 || strings.ContainsRune(c.Schema, 0) {
		errs = append(errs, fmt.Errorf("%w: Schema has more than 63 bytes, or U+0000 in it", webhook.ErrInvalidConfig))
	}
	return c, errors.Join(errs...)
}

// names are the store's names in the database.
type names struct {
	schema, prefix string
	tables         *strings.Replacer // {endpoints} to its quoted, qualified name
}

var relations = []string{"meta", "endpoints", "subscriptions", "lanes", "events", "deliveries", "attempts", "inbox", "gaps", "hours", "replays"}

// Indexes are created in the schema of their table, and named without it.
var indexForm = regexp.MustCompile(`\{[a-z]+_[a-z]+\}`)

// locate finds out which schema the tables are in.
func locate(ctx context.Context, pool *pgxpool.Pool, cfg *Config) (names, error) {
	c, err := cfg.withDefaults()
	if err != nil {
		return names{}, err
	}
	if pool == nil {
		return names{}, fmt.Errorf("%w: no pool", webhook.ErrInvalidConfig)
	}
	if c.Schema == "" {
		var found *string
		if err := pool.QueryRow(ctx, `SELECT current_schema()::text`).Scan(&found); err != nil {
			return names{}, fail("schema", err)
		}
		if found == nil {
			return names{}, fmt.Errorf("%w: no schema of the search_path exists, and Schema is empty", webhook.ErrInvalidConfig)
		}
		c.Schema = *found
	}
	n := names{schema: c.Schema, prefix: c.TablePrefix}
	var pairs []string
	for _, name := range relations {
		pairs = append(pairs, "{"+name+"}", n.table(name))
	}
	n.tables = strings.NewReplacer(pairs...)
	return n, nil
}

func (n names) table(name string) string { return pgx.Identifier{n.schema, n.prefix + name}.Sanitize() }

// key is what advisory locks are taken on and the channel is named for.
func (n names) key() int64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "github.com/meshia/webhook/pgstore\x00%s\x00%s", n.schema, n.prefix)
	return int64(h.Sum64())
}

//go:embed migrations/*.sql
var migrations embed.FS

// current is the version of the schema that this library is written for.
const current = 1

// step returns the statements that lead from version-1 to version, and the version of the library that can use the
// result at least: the step says so in its first line.
func step(version int) (sql string, minimum int, err error) {
	raw, err := migrations.ReadFile(fmt.Sprintf("migrations/%04d.sql", version))
	if err != nil {
		return "", 0, err
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	minimum, err = strconv.Atoi(strings.TrimPrefix(first, "-- minimum: "))
	if err != nil {
		return "", 0, fmt.Errorf("step %d does not state its minimum: %w", version, err)
	}
	return string(raw), minimum, nil
}

// Migrate brings the tables to the version that this library needs; where they are at it, or at a later one that this
// library can use, it changes nothing. Any number of processes may call it at once, and a process may be killed in it:
// each step is one transaction. What runs on the version before goes on running, unless the notes of a release say
// otherwise; see [ErrSchemaTooNew].
//
// It needs the right to create tables in the schema. New needs only SELECT, INSERT, UPDATE and DELETE on them, so that
// a deployment may migrate as another role.
func Migrate(ctx context.Context, pool *pgxpool.Pool, cfg *Config) error {
	n, err := locate(ctx, pool, cfg)
	if err != nil {
		return err
	}
	for {
		done, err := n.migrateOnce(ctx, pool)
		if err != nil {
			return fail("migrate", err)
		}
		if done {
			return nil
		}
	}
}

// migrateOnce runs the next step, if there is one.
func (n names) migrateOnce(ctx context.Context, pool *pgxpool.Pool) (done bool, err error) {
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1::bigint)`, n.key()); err != nil {
			return err
		}
		// Its notice where the table exists is of no interest to anyone.
		if _, err := tx.Exec(ctx, `SET LOCAL client_min_messages = warning`); err != nil {
			return err
		}
		version, minimum, err := n.version(ctx, tx)
		if errors.Is(err, ErrSchemaMissing) {
			// Of one row: which version the tables have, and which version of the library can use them at least.
			_, err = tx.Exec(ctx, n.tables.Replace(`CREATE TABLE {meta} (
				one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL, minimum integer NOT NULL);
				INSERT INTO {meta} (version, minimum) VALUES (0, 0)`))
		}
		if err != nil {
			return err
		}
		if version >= current {
			done = true
			return tooNew(version, minimum)
		}
		sql, minimum, err := step(version + 1)
		if err != nil {
			return err
		}
		sql = n.tables.Replace(sql)
		sql = indexForm.ReplaceAllStringFunc(sql, func(name string) string {
			return pgx.Identifier{n.prefix + strings.Trim(name, "{}")}.Sanitize()
		})
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("step %d: %w", version+1, err)
		}
		if _, err := tx.Exec(ctx, n.tables.Replace(`UPDATE {meta} SET version = $1, minimum = $2`), version+1, minimum); err != nil {
			return err
		}
		failpoint.Pass(failpoint.K19)
		return nil
	})
	return done, err
}

// querier is what a pool and a transaction have in common.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// version returns the version of the tables, and which version of the library can use them at least.
func (n names) version(ctx context.Context, q querier) (version, minimum int, err error) {
	// Asking for the table itself would end the transaction where it is missing, and to_regclass may answer from a
	// cache that does not know yet what another process has just made.
	var there bool
	err = q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1::text AND c.relname = $2::text)`, n.schema, n.prefix+"meta").Scan(&there)
	if err != nil {
		return 0, 0, err
	}
	if !there {
		return 0, 0, fmt.Errorf("%w: there is no table %s", ErrSchemaMissing, n.table("meta"))
	}
	err = q.QueryRow(ctx, n.tables.Replace(`SELECT version, minimum FROM {meta}`)).Scan(&version, &minimum)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, 0, fmt.Errorf("%w: %s is empty", ErrSchemaMissing, n.table("meta"))
	}
	return version, minimum, err
}

func tooNew(version, minimum int) error {
	if minimum > current {
		return fmt.Errorf("%w: they are at %d, which versions from %d on can use; this library is at %d", ErrSchemaTooNew, version, minimum, current)
	}
	return nil
}

// check refuses tables that this library cannot use.
func (n names) check(ctx context.Context, pool *pgxpool.Pool) error {
	version, minimum, err := n.version(ctx, pool)
	switch {
	case err != nil:
		return err
	case version < current:
		return fmt.Errorf("%w: they are at %d, and this library needs %d", ErrSchemaTooOld, version, current)
	default:
		return tooNew(version, minimum)
	}
}

// is reports whether err came from the server with one of these SQLSTATEs (PostgreSQL documentation, appendix A).
func is(err error, states ...string) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	for _, state := range states {
		if pg.Code == state {
			return true
		}
	}
	return false
}
