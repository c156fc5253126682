package metastore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"syscall"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// tables hold each object as the bytes of its thrift struct, beside what it is looked up by.
const tables = `
CREATE TABLE IF NOT EXISTS hive_databases (name TEXT PRIMARY KEY, object BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS hive_tables (database TEXT NOT NULL, name TEXT NOT NULL, object BLOB NOT NULL, PRIMARY KEY (database, name)) STRICT;
CREATE TABLE IF NOT EXISTS hive_partitions (
	database TEXT NOT NULL, "table" TEXT NOT NULL, name TEXT NOT NULL, object BLOB NOT NULL, PRIMARY KEY (database, "table", name)) STRICT;
`

// objects are the databases, tables and partitions in SQLite.
type objects struct{ db *sql.DB }

// openObjects opens the file, makes what it lacks, and the database default, which clients take for granted.
func openObjects(path, warehouse string) (*objects, error) {
	// Synchronous: what was answered survives a power cut.
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String()+
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // calls are short, and one at a time needs no retries
	o := &objects{db: db}
	if _, err := db.Exec(tables); err != nil {
		if s, is := errors.AsType[*sqlite.Error](err); is && s.Code() == sqlite3.SQLITE_FULL {
			err = fmt.Errorf("%w (%w)", syscall.ENOSPC, err) // as every other stage says it
		}
		return nil, errors.Join(err, db.Close())
	}
	err = o.do(context.Background(), func(tx transaction) error {
		err := tx.createDatabase(&hms.Database{Name: "default", Description: "Default Hive database", LocationUri: warehouse, Parameters: map[string]string{}})
		if errors.As(err, new(*hms.AlreadyExistsException)) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return o, nil
}

func (o *objects) close() error { return o.db.Close() }

// do runs f in a transaction, which is undone if f fails. A failure of SQLite's own is a MetaException: that is what clients retry.
func (o *objects) do(ctx context.Context, f func(transaction) error) error {
	tx, err := o.db.BeginTx(ctx, nil)
	if err != nil {
		return meta("beginning a transaction: %v", err)
	}
	defer func() { _ = tx.Rollback() }() // of what was not committed
	if err := f(transaction{ctx, tx}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return meta("committing: %v", err)
	}
	return nil
}

type transaction struct {
	ctx context.Context
	tx  *sql.Tx
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
	r, err := t.tx.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, meta("%v", err)
	}
	n, err := r.RowsAffected()
	if err != nil {
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
	rows, err := t.tx.QueryContext(t.ctx, query, args...)
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
		found = true
		return scan(t.ctx, rows, o)
	})
	return found, err
}

func scan(ctx context.Context, rows *sql.Rows, o thrift.TStruct) error {
	var data sql.RawBytes
	if err := rows.Scan(&data); err != nil {
		return meta("%v", err)
	}
	if err := thrift.NewTDeserializer().Read(ctx, o, data); err != nil {
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

func (t transaction) createDatabase(d *hms.Database) error {
	if !identifier(d.Name) {
		return invalid("%q is not a valid database name", d.Name)
	}
	data, err := t.encode(d)
	if err != nil {
		return err
	}
	n, err := t.exec(`INSERT INTO hive_databases VALUES (?, ?) ON CONFLICT DO NOTHING`, d.Name, data)
	if err == nil && n == 0 {
		err = exists("Database %s already exists", d.Name)
	}
	return err
}

func (t transaction) alterDatabase(d *hms.Database) error {
	data, err := t.encode(d)
	if err != nil {
		return err
	}
	n, err := t.exec(`UPDATE hive_databases SET object = ? WHERE name = ?`, data, d.Name)
	if err == nil && n == 0 {
		err = missing("There is no database named %s", d.Name)
	}
	return err
}

func (t transaction) database(name string) (*hms.Database, error) {
	d := hms.NewDatabase()
	found, err := t.object(d, `SELECT object FROM hive_databases WHERE name = ?`, name)
	if err == nil && !found {
		err = missing("There is no database named %s", name)
	}
	return d, err
}

func (t transaction) databases() ([]string, error) {
	return t.names(`SELECT name FROM hive_databases ORDER BY name`)
}

// dropDatabase drops the tables that it has too.
func (t transaction) dropDatabase(name string) error {
	for _, statement := range []string{
		`DELETE FROM hive_partitions WHERE database = ?`, `DELETE FROM hive_tables WHERE database = ?`, `DELETE FROM hive_databases WHERE name = ?`,
	} {
		if _, err := t.exec(statement, name); err != nil {
			return err
		}
	}
	return nil
}

func (t transaction) createTable(tbl *hms.Table) error {
	data, err := t.encode(tbl)
	if err != nil {
		return err
	}
	n, err := t.exec(`INSERT INTO hive_tables VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, tbl.DbName, tbl.TableName, data)
	if err == nil && n == 0 {
		err = exists("Table %s.%s already exists", tbl.DbName, tbl.TableName)
	}
	return err
}

// alterTable puts tbl in the place of the table, under another name if tbl has one.
func (t transaction) alterTable(database, name string, tbl *hms.Table) error {
	data, err := t.encode(tbl)
	if err != nil {
		return err
	}
	if tbl.DbName != database || tbl.TableName != name {
		taken, err := t.names(`SELECT name FROM hive_tables WHERE database = ? AND name = ?`, tbl.DbName, tbl.TableName)
		if err != nil {
			return err
		}
		if len(taken) > 0 {
			return refused("table %s.%s already exists", tbl.DbName, tbl.TableName)
		}
		if _, err := t.database(tbl.DbName); err != nil {
			return refused("there is no database named %s", tbl.DbName)
		}
		if err := t.renamePartitions(database, name, tbl); err != nil {
			return err
		}
	}
	n, err := t.exec(`UPDATE hive_tables SET database = ?, name = ?, object = ? WHERE database = ? AND name = ?`, tbl.DbName, tbl.TableName, data, database, name)
	if err == nil && n == 0 {
		err = refused("table %s.%s doesn't exist", database, name)
	}
	return err
}

// renamePartitions moves the partitions of the table to one of tbl's name.
func (t transaction) renamePartitions(database, name string, tbl *hms.Table) error {
	ps, err := t.partitions(database, name, func(string) bool { return true })
	if err != nil {
		return err
	}
	if _, err := t.exec(`DELETE FROM hive_partitions WHERE database = ? AND "table" = ?`, database, name); err != nil {
		return err
	}
	for _, p := range ps {
		p.DbName, p.TableName = tbl.DbName, tbl.TableName
		if _, err := t.addPartition(tbl, p); err != nil {
			return err
		}
	}
	return nil
}

func (t transaction) table(database, name string) (*hms.Table, error) {
	tbl := hms.NewTable()
	found, err := t.object(tbl, `SELECT object FROM hive_tables WHERE database = ? AND name = ?`, database, name)
	if err == nil && !found {
		err = missing("%s.%s table not found", database, name)
	}
	return tbl, err
}

func (t transaction) tables(database string) ([]string, error) {
	return t.names(`SELECT name FROM hive_tables WHERE database = ? ORDER BY name`, database)
}

func (t transaction) dropTable(database, name string) error {
	if _, err := t.exec(`DELETE FROM hive_partitions WHERE database = ? AND "table" = ?`, database, name); err != nil {
		return err
	}
	_, err := t.exec(`DELETE FROM hive_tables WHERE database = ? AND name = ?`, database, name)
	return err
}

// addPartition reports whether there was none of the same values.
func (t transaction) addPartition(tbl *hms.Table, p *hms.Partition) (bool, error) {
	data, err := t.encode(p)
	if err != nil {
		return false, err
	}
	n, err := t.exec(`INSERT INTO hive_partitions VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`, tbl.DbName, tbl.TableName, partitionName(tbl, p.Values), data)
	return n > 0, err
}

// alterPartition puts p in the place of the partition of the given name.
func (t transaction) alterPartition(tbl *hms.Table, name string, p *hms.Partition) error {
	data, err := t.encode(p)
	if err != nil {
		return err
	}
	n, err := t.exec(`UPDATE hive_partitions SET name = ?, object = ? WHERE database = ? AND "table" = ? AND name = ?`,
		partitionName(tbl, p.Values), data, tbl.DbName, tbl.TableName, name)
	if err == nil && n == 0 {
		err = refused("alter is not possible: there is no partition %s of %s.%s", name, tbl.DbName, tbl.TableName)
	}
	return err
}

// partition is nil if there is none of that name.
func (t transaction) partition(database, table, name string) (*hms.Partition, error) {
	p := hms.NewPartition()
	found, err := t.object(p, `SELECT object FROM hive_partitions WHERE database = ? AND "table" = ? AND name = ?`, database, table, name)
	if err != nil || !found {
		return nil, err
	}
	return p, nil
}

// partitions are those whose names are wanted, by name.
func (t transaction) partitions(database, table string, wanted func(name string) bool) ([]*hms.Partition, error) {
	out := []*hms.Partition{}
	err := t.each(`SELECT name, object FROM hive_partitions WHERE database = ? AND "table" = ? ORDER BY name`, []any{database, table}, func(rows *sql.Rows) error {
		var name string
		var data sql.RawBytes
		if err := rows.Scan(&name, &data); err != nil {
			return meta("%v", err)
		}
		if !wanted(name) {
			return nil
		}
		p := hms.NewPartition()
		if err := thrift.NewTDeserializer().Read(t.ctx, p, data); err != nil {
			return meta("reading partition %s: %v", name, err)
		}
		out = append(out, p)
		return nil
	})
	return out, err
}

func (t transaction) partitionNames(database, table string) ([]string, error) {
	return t.names(`SELECT name FROM hive_partitions WHERE database = ? AND "table" = ? ORDER BY name`, database, table)
}

func (t transaction) dropPartition(database, table, name string) (bool, error) {
	n, err := t.exec(`DELETE FROM hive_partitions WHERE database = ? AND "table" = ? AND name = ?`, database, table, name)
	return n > 0, err
}
