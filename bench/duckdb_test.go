package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// database is DuckDB in memory, by which tables are compared.
type database struct {
	db   duckdb.Database
	conn duckdb.Connection
	// dir is where answers go.
	dir string
}

func openDatabase() (*database, error) {
	dir, err := os.MkdirTemp("", "bench-duckdb-*")
	if err != nil {
		return nil, err
	}
	d := &database{dir: dir}
	var reason string
	if duckdb.OpenExt(":memory:", &d.db, duckdb.Config{}, &reason) == duckdb.StateError {
		return nil, errors.Join(errors.New(reason), os.RemoveAll(dir))
	}
	if duckdb.Connect(d.db, &d.conn) == duckdb.StateError {
		duckdb.Close(&d.db)
		return nil, errors.Join(errors.New("connecting to DuckDB"), os.RemoveAll(dir))
	}
	return d, d.exec("SET TimeZone = 'UTC'")
}

func (d *database) close() {
	duckdb.Disconnect(&d.conn)
	duckdb.Close(&d.db)
	_ = os.RemoveAll(d.dir)
}

func (d *database) exec(sql string) error {
	var res duckdb.Result
	state := duckdb.Query(d.conn, sql, &res)
	defer duckdb.DestroyResult(&res)
	if state == duckdb.StateError {
		return fmt.Errorf("%s: %.300s", duckdb.ResultError(&res), sql)
	}
	return nil
}

// rows are the answer's, as lists of JSON strings and nulls. They come by a file, which needs less code than DuckDB's vectors do.
func (d *database) rows(expressions []string, rest string) (out [][]*string, err error) {
	texts := make([]string, len(expressions))
	for i, e := range expressions {
		texts[i] = "CAST(" + e + " AS VARCHAR)"
	}
	path := filepath.Join(d.dir, "answer.json")
	sql := fmt.Sprintf("COPY (SELECT [%s] AS v %s) TO %s (FORMAT json)", strings.Join(texts, ", "), rest, quote(path))
	if err := d.exec(sql); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := json.NewDecoder(bufio.NewReader(f))
	for lines.More() {
		var row struct{ V []*string }
		if err := lines.Decode(&row); err != nil {
			return nil, err
		}
		out = append(out, row.V)
	}
	return out, nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// identifier is the SQL of a path through structs.
func identifier(path ...string) string {
	quoted := make([]string, len(path))
	for i, name := range path {
		quoted[i] = `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	}
	return strings.Join(quoted, ".")
}
