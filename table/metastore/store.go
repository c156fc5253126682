package metastore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"

	"headwater/internal/database"
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
	id INTEGER PRIMARY KEY AUTOINCREMENT, object BLOB NOT NULL, acquired INTEGER NOT NULL, heartbeat INTEGER NOT NULL);
`

// parts are the tables whose rows belong to a table, by the names of its database and itself.
var parts = []string{"hive_partitions", "hive_columns", "hive_statistics"}

// objects are what the database has.
type objects struct{ db *database.DB }

// openObjects opens the database, makes what it lacks, and the database default, which clients take for granted.
func openObjects(ctx context.Context, cfg Config) (*objects, error) {
	db, err := database.Open(ctx, database.Config{Path: cfg.Path, PostgreSQL: cfg.PostgreSQL}, "hive", []string{tables})
	if err != nil {
		return nil, err
	}
	o := &objects{db}
	err = o.do(ctx, func(tx transaction) error {
		if err := tx.addColumns(db.Shared); err != nil {
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

// addColumns makes what a file of an older version lacks.
func (t transaction) addColumns(shared bool) error {
	if shared {
		return nil
	}
	has, err := t.names(`SELECT name FROM pragma_table_info('hive_partitions') WHERE name = 'columns'`)
	if err == nil && len(has) == 0 {
		_, err = t.exec(`ALTER TABLE hive_partitions ADD COLUMN columns TEXT NOT NULL DEFAULT ''`)
	}
	return err
}

func (o *objects) close() error { return o.db.Close() }

// do runs f in a transaction, which is undone if f fails; no other writes meanwhile. A failure of the database's own is a MetaException: that is
// what clients retry.
func (o *objects) do(ctx context.Context, f func(transaction) error) error {
	return in(ctx, o.db.Write, f)
}

// look runs f, which changes nothing, in a transaction that sees one state of the database.
func (o *objects) look(ctx context.Context, f func(transaction) error) error {
	return in(ctx, o.db.Read, f)
}

func in(ctx context.Context, transact func(context.Context, func(*database.Tx) error) error, f func(transaction) error) error {
	var answer error
	err := transact(ctx, func(tx *database.Tx) error {
		answer = f(transaction{tx, ctx, map[string][]*hms.FieldSchema{}})
		return answer
	})
	if err != nil && answer == nil {
		return meta("%v", err)
	}
	return err
}

type transaction struct {
	tx      *database.Tx
	ctx     context.Context
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
	n, err := t.tx.Exec(query, args...)
	if err != nil {
		return 0, meta("%v", err)
	}
	return n, nil
}

// seconds since 1970, by the clock of all that share the database.
func (t transaction) seconds() (int64, error) {
	now, err := t.tx.Now()
	if err != nil {
		return 0, meta("%v", err)
	}
	return now.Unix(), nil
}

// number runs a query of one number.
func (t transaction) number(query string, args ...any) (n int64, err error) {
	found := false
	err = t.each(query, args, func(scan scanner) error {
		found = true
		if err := scan(&n); err != nil {
			return meta("%v", err)
		}
		return nil
	})
	if err == nil && !found {
		err = meta("%v", sql.ErrNoRows)
	}
	return n, err
}

// names runs a query whose one column is text.
func (t transaction) names(query string, args ...any) ([]string, error) {
	out := []string{}
	err := t.each(query, args, func(scan scanner) error {
		var name string
		if err := scan(&name); err != nil {
			return meta("%v", err)
		}
		out = append(out, name)
		return nil
	})
	return out, err
}

// scanner takes the columns of a row.
type scanner = func(...any) error

func (t transaction) each(query string, args []any, row func(scanner) error) error {
	var answer error
	err := t.tx.Each(query, args, func(scan func(...any) error) error {
		answer = row(scan)
		return answer
	})
	if err != nil && answer == nil {
		return meta("%v", err)
	}
	return err
}

// object reads one object into o and reports whether it is there.
func (t transaction) object(o thrift.TStruct, query string, args ...any) (bool, error) {
	found := false
	err := t.each(query, args, func(scan scanner) error {
		var data sql.RawBytes
		if err := scan(&data); err != nil {
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
