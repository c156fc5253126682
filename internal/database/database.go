// Package database keeps small state in SQLite or in PostgreSQL, by the same statements.
//
// What enters: statements in the words that both understand, with ? for parameters. What leaves: rows. Tables are made by versions, each of which
// is done once, in order. It starts no goroutines but those of the drivers.
//
// Invariants:
//  1. A Write is one transaction: it has happened whole, and is on disk, when it returns nil, or not at all.
//  2. Writes of one name are one after the other, in all processes that share a database: what one has read is so when it writes.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Config says where the database is.
type Config struct {
	// Path is the SQLite file, unless PostgreSQL is set; it is created if need be, its folder is not. One process at a time may have it.
	Path string
	// PostgreSQL is the URL of a database that any number of processes may use at once.
	PostgreSQL string
	// Volatile has SQLite not wait for the disk, so that a power cut may lose what was done: for tests of many writes.
	Volatile bool
}

// DB is an open database. Close it.
type DB struct {
	// Shared says that other processes may use it at the same time.
	Shared bool

	name  string
	write *sql.DB // of one connection: that writes of this process wait for each other needs no connections of the database
	read  *sql.DB
}

// readers are how many may read at a time.
const readers = 4

// Open opens the database and does what versions it lacks of the tables of that name. A database that has newer ones is refused. PostgreSQL's
// columns of texts are ordered by bytes if they are declared as TEXT, as SQLite's are.
func Open(ctx context.Context, cfg Config, name string, versions []string) (*DB, error) {
	d, err := connect(cfg, name)
	if err != nil {
		return nil, fmt.Errorf("opening the database %s: %w", cfg, err)
	}
	d.write.SetMaxOpenConns(1)
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	if err := d.Write(ctx, func(tx *Tx) error { return tx.upgrade(name, versions) }); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database %s: %w", cfg, err), d.Close())
	}
	return d, nil
}

// String is where the database is, without a password.
func (c Config) String() string {
	if c.PostgreSQL != "" {
		return "in PostgreSQL (check the URL under state, and that its user may create tables)"
	}
	return c.Path
}

func connect(cfg Config, name string) (*DB, error) {
	if cfg.PostgreSQL != "" {
		c, err := pgx.ParseConfig(cfg.PostgreSQL)
		if err != nil {
			return nil, err
		}
		return &DB{Shared: true, name: name, write: stdlib.OpenDB(*c), read: stdlib.OpenDB(*c)}, nil
	}
	// Synchronous: what was done survives a power cut. A transaction that writes is alone from its begin on.
	sync := "FULL"
	if cfg.Volatile {
		sync = "OFF"
	}
	file := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: cfg.Path}).EscapedPath()}).String() +
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(" + sync + ")&_pragma=busy_timeout(10000)&_txlock=immediate"
	write, err := sql.Open("sqlite", file)
	if err != nil {
		return nil, err
	}
	read, err := sql.Open("sqlite", file)
	return &DB{name: name, write: write, read: read}, err
}

// Close closes the connections.
func (d *DB) Close() error { return errors.Join(d.write.Close(), d.read.Close()) }

// begin is the first statement of a transaction of PostgreSQL that writes. A process that stands still meanwhile loses its transaction, and with it
// the lock.
const begin = `SET LOCAL idle_in_transaction_session_timeout = '30s'; SET LOCAL lock_timeout = '1min'; SELECT pg_advisory_xact_lock(hashtextextended('headwater %s', 0))`

// Write runs f in a transaction, which is undone if f fails.
func (d *DB) Write(ctx context.Context, f func(*Tx) error) error {
	first := ""
	if d.Shared {
		first = fmt.Sprintf(begin, d.name)
	}
	return d.run(ctx, d.write, nil, first, f)
}

// Read runs f, which changes nothing, in a transaction that sees one state of the database.
func (d *DB) Read(ctx context.Context, f func(*Tx) error) error {
	o := &sql.TxOptions{ReadOnly: true}
	if d.Shared {
		o.Isolation = sql.LevelRepeatableRead
	}
	return d.run(ctx, d.read, o, "", f)
}

func (d *DB) run(ctx context.Context, db *sql.DB, o *sql.TxOptions, first string, f func(*Tx) error) error {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", full(err))
	}
	defer func() { _ = tx.Rollback() }() // of what was not committed
	if first != "" {
		if _, err := tx.ExecContext(ctx, first); err != nil {
			return fmt.Errorf("waiting for other processes that write: %w", err)
		}
	}
	if err := f(&Tx{ctx: ctx, tx: tx, dollar: d.Shared}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", full(err))
	}
	return nil
}

// full says of a disk that is full what every other stage says.
func full(err error) error {
	if s, is := errors.AsType[*sqlite.Error](err); is && s.Code() == sqlite3.SQLITE_FULL {
		return fmt.Errorf("%w (%w)", syscall.ENOSPC, err)
	}
	return err
}

// Tx is a transaction. It is over when the function that got it returns.
type Tx struct {
	ctx    context.Context // a transaction lives as long as one call
	tx     *sql.Tx
	dollar bool // parameters are $1, $2 and not ?
}

// alone is what upgrades of all names wait for: PostgreSQL refuses one of two transactions that make the same table, whatever IF NOT EXISTS says.
const alone = `SELECT pg_advisory_xact_lock(hashtextextended('headwater versions', 0))`

// upgrade does the versions that are not done yet.
func (t *Tx) upgrade(name string, versions []string) error {
	if t.dollar {
		if _, err := t.tx.ExecContext(t.ctx, alone); err != nil {
			return fmt.Errorf("waiting for others that make their tables: %w", err)
		}
	}
	if _, err := t.Exec(t.spell(`CREATE TABLE IF NOT EXISTS headwater_versions (name TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL)`)); err != nil {
		return err
	}
	var done int
	if err := t.Each(`SELECT version FROM headwater_versions WHERE name = ?`, []any{name}, func(scan func(...any) error) error { return scan(&done) }); err != nil {
		return err
	}
	if done > len(versions) {
		return fmt.Errorf("its tables of %s are of version %d and this headwater knows %d: use a newer one", name, done, len(versions))
	}
	for _, v := range versions[done:] {
		if _, err := t.tx.ExecContext(t.ctx, t.spell(v)); err != nil {
			return full(err)
		}
	}
	_, err := t.Exec(`INSERT INTO headwater_versions (name, version) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET version = excluded.version`, name, len(versions))
	return err
}

// spell has PostgreSQL's own words for the types.
func (t *Tx) spell(statement string) string {
	if !t.dollar {
		return statement
	}
	return strings.NewReplacer("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "TEXT", `TEXT COLLATE "C"`, "INTEGER", "BIGINT",
		"BLOB", "BYTEA", " STRICT", "").Replace(statement)
}

// bind spells the parameters of a query, in which no text has a question mark.
func (t *Tx) bind(query string) string {
	if !t.dollar {
		return query
	}
	var b strings.Builder
	for i, part := range strings.Split(query, "?") {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
}

// Exec runs a statement and returns how many rows it changed.
func (t *Tx) Exec(query string, args ...any) (int64, error) {
	r, err := t.tx.ExecContext(t.ctx, t.bind(query), args...)
	if err != nil {
		return 0, full(err)
	}
	return r.RowsAffected()
}

// Each gives each row of a query to a function, which scans it.
func (t *Tx) Each(query string, args []any, row func(scan func(...any) error) error) error {
	rows, err := t.tx.QueryContext(t.ctx, t.bind(query), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Now is the time by the clock that all who use the database share.
func (t *Tx) Now() (time.Time, error) {
	if !t.dollar {
		return time.Now(), nil
	}
	var ms int64
	err := t.tx.QueryRowContext(t.ctx, `SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint`).Scan(&ms)
	return time.UnixMilli(ms), err
}
