//go:build !noduckdb

package query

import (
	"unsafe"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// textVector reads a VARCHAR vector, which is valid as long as its chunk.
type textVector struct {
	data  []duckdb.StringT
	nulls unsafe.Pointer
}

func newTextVector(v duckdb.Vector, size int) textVector {
	return textVector{
		data:  unsafe.Slice((*duckdb.StringT)(duckdb.VectorGetData(v)), size),
		nulls: duckdb.VectorGetValidity(v),
	}
}

func (v textVector) at(i int) value {
	if v.nulls != nil && !duckdb.ValidityMaskValueIsValid(v.nulls, duckdb.IdxT(i)) {
		return value{null: true}
	}
	return value{text: duckdb.StringTData(&v.data[i])}
}
