//go:build !noduckdb

package query

import (
	"errors"
	"fmt"
	"strings"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// duckDB is a database in memory with one connection. It is used through DuckDB's C interface because database/sql's driver
// holds a whole answer in memory.
type duckDB struct {
	db   duckdb.Database
	conn duckdb.Connection
}

func openDuckDB() (*duckDB, error) {
	d := &duckDB{}
	var reason string
	if duckdb.OpenExt(":memory:", &d.db, duckdb.Config{}, &reason) == duckdb.StateError {
		return nil, fmt.Errorf("opening DuckDB: %s", reason)
	}
	if duckdb.Connect(d.db, &d.conn) == duckdb.StateError {
		duckdb.Close(&d.db)
		return nil, errors.New("connecting to DuckDB")
	}
	return d, nil
}

func (d *duckDB) close() {
	duckdb.Disconnect(&d.conn)
	duckdb.Close(&d.db)
}

// interrupt makes what is running fail. It may be called from another goroutine.
func (d *duckDB) interrupt() { duckdb.Interrupt(d.conn) }

func (d *duckDB) exec(sql string) error {
	var res duckdb.Result
	state := duckdb.Query(d.conn, sql, &res)
	defer duckdb.DestroyResult(&res)
	if state == duckdb.StateError {
		return errors.New(duckdb.ResultError(&res))
	}
	return nil
}

type statementKind int

const (
	forbidden statementKind = iota
	selects
	explains
)

// description is what a statement would answer.
type description struct {
	kind    statementKind
	columns []column
	shapes  []shape
}

// describe parses and binds the one statement of sql and executes nothing.
func (d *duckDB) describe(sql string) (description, error) {
	var all duckdb.ExtractedStatements
	count := duckdb.ExtractStatements(d.conn, sql, &all)
	defer duckdb.DestroyExtracted(&all)
	if count != 1 {
		if reason := duckdb.ExtractStatementsError(all); reason != "" {
			return description{}, statementFault(errors.New(reason))
		}
		if count == 0 {
			return description{}, fmt.Errorf("%w: there is no statement", ErrSQL)
		}
		return description{}, fmt.Errorf("%w: there are %d statements, give one", ErrSQL, count)
	}
	var one duckdb.PreparedStatement
	state := duckdb.PrepareExtractedStatement(d.conn, all, 0, &one)
	defer duckdb.DestroyPrepare(&one)
	if state == duckdb.StateError {
		return description{}, statementFault(errors.New(duckdb.PrepareError(one)))
	}
	if n := duckdb.NParams(one); n > 0 {
		return description{}, fmt.Errorf("%w: it has %d parameters, write the values into it", ErrSQL, n)
	}
	var out description
	switch duckdb.PreparedStatementType(one) {
	case duckdb.StatementTypeSelect:
		out.kind = selects
	case duckdb.StatementTypeExplain:
		out.kind = explains
	}
	for i := range duckdb.PreparedStatementColumnCount(one) {
		t := duckdb.PreparedStatementColumnLogicalType(one, i)
		out.columns = append(out.columns, column{name: duckdb.PreparedStatementColumnName(one, i), numeric: numeric(t)})
		out.shapes = append(out.shapes, shapeOfDuckDB(t))
		duckdb.DestroyLogicalType(&t)
	}
	return out, nil
}

// stream executes a statement whose columns are all VARCHAR and hands over row by row, while DuckDB goes on working.
func (d *duckDB) stream(sql string, columns int, row func([]value) error) error {
	var one duckdb.PreparedStatement
	state := duckdb.Prepare(d.conn, sql, &one)
	defer duckdb.DestroyPrepare(&one)
	if state == duckdb.StateError {
		return statementFault(errors.New(duckdb.PrepareError(one)))
	}
	var pending duckdb.PendingResult
	// Deprecated in the C interface, which has no other way to get an answer before the whole of it is in memory.
	state = duckdb.PendingPreparedStreaming(one, &pending)
	defer duckdb.DestroyPending(&pending)
	if state == duckdb.StateError {
		return statementFault(errors.New(duckdb.PendingError(pending)))
	}
	var res duckdb.Result
	state = duckdb.ExecutePending(pending, &res)
	defer duckdb.DestroyResult(&res)
	if state == duckdb.StateError {
		return statementFault(errors.New(duckdb.ResultError(&res)))
	}
	values := make([]value, columns)
	for {
		chunk := duckdb.FetchChunk(res)
		if chunk.Ptr == nil {
			break
		}
		err := rows(chunk, values, row)
		duckdb.DestroyDataChunk(&chunk)
		if err != nil {
			return err
		}
	}
	// The end and a failure both come as no chunk.
	if reason := duckdb.ResultError(&res); reason != "" {
		return statementFault(errors.New(reason))
	}
	return nil
}

// rows hands over the rows of a chunk of VARCHAR vectors.
func rows(chunk duckdb.DataChunk, values []value, row func([]value) error) error {
	size := duckdb.DataChunkGetSize(chunk)
	vectors := make([]textVector, len(values))
	for i := range values {
		vectors[i] = newTextVector(duckdb.DataChunkGetVector(chunk, duckdb.IdxT(i)), int(size))
	}
	for r := range int(size) {
		for i := range values {
			values[i] = vectors[i].at(r)
		}
		if err := row(values); err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
	}
	return nil
}

// shapeOfDuckDB is the shape of any type that an answer can have.
func shapeOfDuckDB(t duckdb.LogicalType) shape {
	if duckdb.LogicalTypeGetAlias(t) == "JSON" {
		return shape{kind: jsonValue}
	}
	id := duckdb.GetTypeId(t)
	switch id {
	case duckdb.TypeVarchar:
		return shape{kind: text}
	case duckdb.TypeFloat, duckdb.TypeDouble:
		return shape{kind: float}
	case duckdb.TypeBoolean:
		return shape{kind: exact}
	case duckdb.TypeTimestampTZ:
		return shape{kind: instant}
	case duckdb.TypeTimestamp, duckdb.TypeTimestampS, duckdb.TypeTimestampMS:
		return shape{kind: local}
	case duckdb.TypeList:
		return shape{kind: list, elem: child(duckdb.ListTypeChildType(t))}
	case duckdb.TypeArray:
		return shape{kind: list, elem: child(duckdb.ArrayTypeChildType(t))}
	case duckdb.TypeMap:
		return shape{kind: mapping, key: child(duckdb.MapTypeKeyType(t)), elem: child(duckdb.MapTypeValueType(t))}
	case duckdb.TypeStruct:
		s := shape{kind: structure}
		for i := range duckdb.StructTypeChildCount(t) {
			s.fields = append(s.fields, field{duckdb.StructTypeChildName(t, i), *child(duckdb.StructTypeChildType(t, i))})
		}
		return s
	}
	if numeric(t) {
		return shape{kind: exact}
	}
	return shape{kind: other}
}

func child(t duckdb.LogicalType) *shape {
	defer duckdb.DestroyLogicalType(&t)
	return new(shapeOfDuckDB(t))
}

func numeric(t duckdb.LogicalType) bool {
	switch duckdb.GetTypeId(t) {
	case duckdb.TypeTinyInt, duckdb.TypeSmallInt, duckdb.TypeInteger, duckdb.TypeBigInt, duckdb.TypeHugeInt,
		duckdb.TypeUTinyInt, duckdb.TypeUSmallInt, duckdb.TypeUInteger, duckdb.TypeUBigInt, duckdb.TypeUHugeInt,
		duckdb.TypeBigNum, duckdb.TypeDecimal, duckdb.TypeFloat, duckdb.TypeDouble:
		return true
	}
	return false
}

// statementFault marks an error of DuckDB as the statement's, unless it is one that the statement cannot help.
func statementFault(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n\nStack Trace:")
	err = errors.New(text)
	for _, prefix := range []string{"IO Error", "INTERNAL Error", "FATAL Error", "Fatal Error", "Serialization Error", "INTERRUPT Error"} {
		if strings.HasPrefix(text, prefix) {
			return err
		}
	}
	if strings.HasPrefix(text, "Invalid Input Error") && strings.Contains(text, ".parquet'") {
		return fmt.Errorf("a table's file is damaged: %w", err)
	}
	if strings.HasPrefix(text, "Out of Memory Error") {
		return fmt.Errorf("%w (raise query.memory, or ask for less)", err)
	}
	return fmt.Errorf("%w: %w", ErrSQL, err)
}
