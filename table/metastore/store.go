package metastore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// tables hold each object as the bytes of its thrift struct, beside what it is looked up by. Partitions that have the same columns, as
// nearly all of a table have, share a row of hive_columns.
const tables = `
CREATE TABLE IF NOT EXISTS hive_databases (name TEXT NOT NULL PRIMARY KEY, object BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS hive_tables (database TEXT NOT NULL, name TEXT NOT NULL, object BLOB NOT NULL, PRIMARY KEY (database, name)) STRICT;
CREATE TABLE IF NOT EXISTS hive_partitions (
	database TEXT NOT NULL, "table" TEXT NOT NULL, name TEXT NOT NULL, object BLOB NOT NULL, columns TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (database, "table", name)) STRICT;
CREATE TABLE IF NOT EXISTS hive_columns (
	database TEXT NOT NULL, "table" TEXT NOT NULL, digest TEXT NOT NULL, object BLOB NOT NULL, PRIMARY KEY (database, "table", digest)) STRICT;
CREATE TABLE IF NOT EXISTS hive_statistics (
	database TEXT NOT NULL, "table" TEXT NOT NULL, partition TEXT NOT NULL, name TEXT NOT NULL, object BLOB NOT NULL,
	PRIMARY KEY (database, "table", partition, name)) STRICT;
CREATE TABLE IF NOT EXISTS hive_locks (
	id INTEGER PRIMARY KEY AUTOINCREMENT, object BLOB NOT NULL, acquired BIGINT NOT NULL, heartbeat BIGINT NOT NULL);
`

// parts are the tables whose rows belong to a table, by the names of its database and itself.
var parts = []string{"hive_partitions", "hive_columns", "hive_statistics"}

// dialect is where SQLite and PostgreSQL differ.
type dialect struct {
	tables string
	begin  string // the first statement of a transaction that writes
	clock  string // the second that it is
	dollar bool   // parameters are $1, $2 and not ?
	read   *sql.TxOptions
}

// A transaction of SQLite that writes is alone from its begin on.
var inSQLite = dialect{
	tables: strings.ReplaceAll(tables, "BIGINT NOT NULL", "INTEGER NOT NULL"),
	clock:  `SELECT unixepoch()`,
	read:   &sql.TxOptions{ReadOnly: true},
}

// In PostgreSQL, of all the processes that share a database, one at a time writes: calls are short, and what a call has read is true
// when it writes. A process that stands still meanwhile loses its transaction, and with it the lock.
var inPostgreSQL = dialect{
	tables: strings.NewReplacer(" STRICT", "", "BLOB", "BYTEA", "TEXT", `TEXT COLLATE "C"`,
		"INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY").Replace(tables),
	begin: `SET LOCAL idle_in_transaction_session_timeout = '30s'; SET LOCAL lock_timeout = '1min'; SELECT pg_advisory_xact_lock(7816392501)`,
	clock: `SELECT extract(epoch FROM clock_timestamp())::bigint`,
	// A snapshot: what a call reads second belongs to what it read first.
	read:   &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true},
	dollar: true,
}

// bind spells the parameters of a query, in which no text has a question mark.
func (d dialect) bind(query string) string {
	if !d.dollar {
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

// objects are what the database has.
type objects struct {
	dialect
	write *sql.DB // of one connection: that calls of this process wait for each other needs no connections of the database
	read  *sql.DB
}

// readers are how many calls read at a time: each holds an answer in memory.
const readers = 4

// openObjects opens the database, makes what it lacks, and the database default, which clients take for granted.
func openObjects(ctx context.Context, cfg Config) (*objects, error) {
	o, err := connect(cfg)
	if err != nil {
		return nil, err
	}
	o.write.SetMaxOpenConns(1)
	o.read.SetMaxOpenConns(readers)
	o.read.SetMaxIdleConns(readers)
	err = o.do(ctx, func(tx transaction) error {
		if err := tx.makeTables(); err != nil {
			return err
		}
		err := tx.createDatabase(&hms.Database{Name: "default", Description: "Default Hive database", LocationUri: cfg.Warehouse, Parameters: map[string]string{}})
		if errors.As(err, new(*hms.AlreadyExistsException)) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

func connect(cfg Config) (*objects, error) {
	if cfg.PostgreSQL != "" {
		c, err := pgx.ParseConfig(cfg.PostgreSQL)
		if err != nil {
			return nil, err
		}
		return &objects{inPostgreSQL, stdlib.OpenDB(*c), stdlib.OpenDB(*c)}, nil
	}
	// Synchronous: what was answered survives a power cut.
	name := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: cfg.Path}).EscapedPath()}).String() +
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)&_txlock=immediate"
	write, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, err
	}
	read, err := sql.Open("sqlite", name)
	return &objects{inSQLite, write, read}, err
}

// makeTables makes what a new file, or one of an older version, lacks.
func (t transaction) makeTables() error {
	if _, err := t.tx.ExecContext(t.ctx, t.dialect.tables); err != nil {
		return full(err)
	}
	if t.dollar {
		return nil
	}
	shared, err := t.names(`SELECT name FROM pragma_table_info('hive_partitions') WHERE name = 'columns'`)
	if err == nil && len(shared) == 0 {
		_, err = t.exec(`ALTER TABLE hive_partitions ADD COLUMN columns TEXT NOT NULL DEFAULT ''`)
	}
	return err
}

// full says of a disk that is full what every other stage says.
func full(err error) error {
	if s, is := errors.AsType[*sqlite.Error](err); is && s.Code() == sqlite3.SQLITE_FULL {
		return fmt.Errorf("%w (%w)", syscall.ENOSPC, err)
	}
	return err
}

func (o *objects) close() error { return errors.Join(o.write.Close(), o.read.Close()) }

// do runs f in a transaction, which is undone if f fails; no other writes meanwhile. A failure of the database's own is a MetaException: that is
// what clients retry.
func (o *objects) do(ctx context.Context, f func(transaction) error) error {
	return o.run(ctx, o.write, nil, f)
}

// look runs f, which changes nothing, in a transaction that sees one state of the database.
func (o *objects) look(ctx context.Context, f func(transaction) error) error {
	return o.run(ctx, o.read, o.dialect.read, f)
}

func (o *objects) run(ctx context.Context, db *sql.DB, opts *sql.TxOptions, f func(transaction) error) error {
	tx, err := db.BeginTx(ctx, opts)
	if err != nil {
		return meta("beginning a transaction: %v", full(err))
	}
	defer func() { _ = tx.Rollback() }() // of what was not committed
	if opts == nil && o.begin != "" {
		if _, err := tx.ExecContext(ctx, o.begin); err != nil {
			return meta("waiting for other processes that write: %v", err)
		}
	}
	if err := f(transaction{o.dialect, ctx, tx, map[string][]*hms.FieldSchema{}}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return meta("committing: %v", full(err))
	}
	return nil
}

type transaction struct {
	dialect
	ctx     context.Context
	tx      *sql.Tx
	columns map[string][]*hms.FieldSchema // those of partitions that it has come upon, by what keyOf says
}

func meta(format string, args ...any) error {
	return &hms.MetaException{Message: fmt.Sprintf(format, args...)}
}

func missing(format string, args ...any) error {
	return &hms.NoSuchObjectException{Message: fmt.Sprintf(format, args...)}
}

func exists(format string, args ...any) error {
	return &hms.AlreadyExistsException{Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error {
	return &hms.InvalidObjectException{Message: fmt.Sprintf(format, args...)}
}

func refused(format string, args ...any) error {
	return &hms.InvalidOperationException{Message: fmt.Sprintf(format, args...)}
}

// exec runs a statement and returns how many rows it changed.
func (t transaction) exec(query string, args ...any) (int64, error) {
	r, err := t.tx.ExecContext(t.ctx, t.bind(query), args...)
	if err != nil {
		return 0, meta("%v", full(err))
	}
	n, err := r.RowsAffected()
	if err != nil {
		return 0, meta("%v", err)
	}
	return n, nil
}

// number runs a query of one number.
func (t transaction) number(query string, args ...any) (n int64, err error) {
	if err := t.tx.QueryRowContext(t.ctx, t.bind(query), args...).Scan(&n); err != nil {
		return 0, meta("%v", err)
	}
	return n, nil
}

// names runs a query whose one column is text.
func (t transaction) names(query string, args ...any) ([]string, error) {
	out := []string{}
	err := t.each(query, args, func(rows *sql.Rows) error {
		var name string
		if err := rows.Scan(&name); err != nil {
			return meta("%v", err)
		}
		out = append(out, name)
		return nil
	})
	return out, err
}

func (t transaction) each(query string, args []any, row func(*sql.Rows) error) error {
	rows, err := t.tx.QueryContext(t.ctx, t.bind(query), args...)
	if err != nil {
		return meta("%v", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return meta("%v", err)
	}
	return nil
}

// object reads one object into o and reports whether it is there.
func (t transaction) object(o thrift.TStruct, query string, args ...any) (bool, error) {
	found := false
	err := t.each(query, args, func(rows *sql.Rows) error {
		var data sql.RawBytes
		if err := rows.Scan(&data); err != nil {
			return meta("%v", err)
		}
		found = true
		return t.decode(o, data)
	})
	return found, err
}

func (t transaction) decode(o thrift.TStruct, data []byte) error {
	if err := thrift.NewTDeserializer().Read(t.ctx, o, data); err != nil {
		return meta("reading an object: %v", err)
	}
	return nil
}

func (t transaction) encode(o thrift.TStruct) ([]byte, error) {
	data, err := thrift.NewTSerializer().Write(t.ctx, o)
	if err != nil {
		return nil, meta("writing an object: %v", err)
	}
	return data, nil
}
