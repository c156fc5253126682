//go:build noduckdb

package query

import (
	"context"
	"io"
)

const hasDuckDB = false

// Worker returns ErrNoDuckDB.
func Worker(context.Context, io.Reader, io.Writer, io.Writer) error { return ErrNoDuckDB }
