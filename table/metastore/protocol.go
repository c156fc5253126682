package metastore

import (
	"context"

	"github.com/apache/thrift/lib/go/thrift"
)

// answers writes what the generated code writes, less the fields that Java must see as null: the generated code knows only an empty
// string, and of a view with an empty location Spark makes a path, which fails.
type answers struct {
	thrift.TProtocol
	field    *begun // begun and not yet written
	skipping bool
}

type begun struct {
	name string
	kind thrift.TType
	id   int16
}

// WriteFieldBegin implements thrift.TProtocol.
func (a *answers) WriteFieldBegin(ctx context.Context, name string, kind thrift.TType, id int16) error {
	switch name {
	case "location", "viewOriginalText", "viewExpandedText":
		a.field = &begun{name, kind, id}
		return nil
	}
	return a.TProtocol.WriteFieldBegin(ctx, name, kind, id)
}

// WriteString implements thrift.TProtocol.
func (a *answers) WriteString(ctx context.Context, value string) error {
	f := a.field
	a.field = nil
	if f != nil && value == "" {
		a.skipping = true
		return nil
	}
	if f != nil {
		if err := a.TProtocol.WriteFieldBegin(ctx, f.name, f.kind, f.id); err != nil {
			return err
		}
	}
	return a.TProtocol.WriteString(ctx, value)
}

// WriteFieldEnd implements thrift.TProtocol.
func (a *answers) WriteFieldEnd(ctx context.Context) error {
	if a.skipping {
		a.skipping = false
		return nil
	}
	return a.TProtocol.WriteFieldEnd(ctx)
}
