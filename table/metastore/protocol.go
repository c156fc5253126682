package metastore

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/apache/thrift/lib/go/thrift"
)

// call is one call: what is read of it, and what is written, which is what the generated code writes, less the fields that Java must see as
// null: the generated code knows only an empty string, and of a view with an empty location Spark makes a path, which fails.
type call struct {
	thrift.TProtocol
	read, written, answered bool // to the end; begun; to the end

	field    *begun // begun and not yet written
	skipping bool

	lists chan struct{} // nil unless it has a place among them

	depth       int   // of the struct that is read
	engine      int16 // the field of the request that is the engine, until it is read
	made, ended bool  // an engine that is not there comes next; and then the end
}

// engines are the fields of requests, by their calls, which Hive 4 made needed: those whose clients are older lack it, and the generated code would refuse them.
var engines = map[string]int16{
	"get_table_statistics_req": 6, "get_partitions_statistics_req": 7, "get_aggr_stats_for": 7,
	"set_aggr_stats_for": 5, "update_table_column_statistics_req": 5, "update_partition_column_statistics_req": 5,
}

// ReadStructBegin implements thrift.TProtocol.
func (c *call) ReadStructBegin(ctx context.Context) (string, error) {
	c.depth++
	return c.TProtocol.ReadStructBegin(ctx)
}

// ReadStructEnd implements thrift.TProtocol.
func (c *call) ReadStructEnd(ctx context.Context) error {
	c.depth--
	return c.TProtocol.ReadStructEnd(ctx)
}

// ReadFieldBegin implements thrift.TProtocol. At the end of a request without an engine comes one.
func (c *call) ReadFieldBegin(ctx context.Context) (string, thrift.TType, int16, error) {
	if c.ended {
		c.ended = false
		return "", thrift.STOP, 0, nil
	}
	name, kind, id, err := c.TProtocol.ReadFieldBegin(ctx)
	if c.depth != 2 || c.engine == 0 || err != nil {
		return name, kind, id, err
	}
	if kind == thrift.STOP {
		c.made, kind, id = true, thrift.STRING, c.engine
	}
	if id == c.engine {
		c.engine = 0
	}
	return name, kind, id, nil
}

// ReadString implements thrift.TProtocol.
func (c *call) ReadString(ctx context.Context) (string, error) {
	if c.made {
		c.made, c.ended = false, true
		return "hive", nil
	}
	return c.TProtocol.ReadString(ctx)
}

// callKey is the key of the *call in the context of what serves it.
type callKey struct{}

// maxLists bounds how many lists of partitions are in memory at a time, from their reading on until the client has taken them.
const maxLists = 8

// hold waits for a place among the lists of partitions, which the call has until it is answered.
func (s *service) hold(ctx context.Context) error {
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil || c.lists != nil {
		return nil
	}
	select {
	case s.lists <- struct{}{}:
		c.lists = s.lists
		return nil
	case <-ctx.Done():
		return meta("waiting for others' lists of partitions: %v", ctx.Err())
	}
}

// free gives up what hold got.
func (c *call) free() {
	if c.lists != nil {
		<-c.lists
	}
}

type begun struct {
	name string
	kind thrift.TType
	id   int16
}

// ReadMessageEnd implements thrift.TProtocol.
func (c *call) ReadMessageEnd(ctx context.Context) error {
	err := c.TProtocol.ReadMessageEnd(ctx)
	c.read = err == nil
	return err
}

// WriteMessageBegin implements thrift.TProtocol.
func (c *call) WriteMessageBegin(ctx context.Context, name string, kind thrift.TMessageType, seq int32) error {
	c.written = true
	return c.TProtocol.WriteMessageBegin(ctx, name, kind, seq)
}

// Flush implements thrift.TProtocol.
func (c *call) Flush(ctx context.Context) error {
	err := c.TProtocol.Flush(ctx)
	c.answered = err == nil
	return err
}

// WriteFieldBegin implements thrift.TProtocol.
func (c *call) WriteFieldBegin(ctx context.Context, name string, kind thrift.TType, id int16) error {
	switch name {
	case "location", "viewOriginalText", "viewExpandedText":
		c.field = &begun{name, kind, id}
		return nil
	}
	return c.TProtocol.WriteFieldBegin(ctx, name, kind, id)
}

// WriteString implements thrift.TProtocol.
func (c *call) WriteString(ctx context.Context, value string) error {
	f := c.field
	c.field = nil
	if f != nil && value == "" {
		c.skipping = true
		return nil
	}
	if f != nil {
		if err := c.TProtocol.WriteFieldBegin(ctx, f.name, f.kind, f.id); err != nil {
			return err
		}
	}
	return c.TProtocol.WriteString(ctx, value)
}

// WriteFieldEnd implements thrift.TProtocol.
func (c *call) WriteFieldEnd(ctx context.Context) error {
	if c.skipping {
		c.skipping = false
		return nil
	}
	return c.TProtocol.WriteFieldEnd(ctx)
}

// guard answers a call that panics, as one does that lacks the arguments it needs.
type guard struct {
	thrift.TProcessorFunction
	name string
	log  *slog.Logger
}

// Process implements thrift.TProcessorFunction.
func (g guard) Process(ctx context.Context, seq int32, in, out thrift.TProtocol) (ok bool, failed thrift.TException) {
	c := in.(*call) // which is out, too
	c.engine = engines[g.name]
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if !c.read || c.written {
			panic(p)
		}
		g.log.Warn("a call to the metastore panicked", "call", g.name, "panic", p, "stack", string(debug.Stack()))
		ok, failed = false, except(ctx, out, g.name, seq, thrift.INTERNAL_ERROR, fmt.Sprintf("%s: an argument is missing or is not as it should be: %v", g.name, p))
	}()
	return g.TProcessorFunction.Process(ctx, seq, in, out)
}

// refusal is a call, by its name, that is not served.
type refusal string

// Process implements thrift.TProcessorFunction.
func (r refusal) Process(ctx context.Context, seq int32, in, out thrift.TProtocol) (bool, thrift.TException) {
	if err := in.Skip(ctx, thrift.STRUCT); err != nil {
		return false, thrift.NewTProtocolException(err)
	}
	if err := in.ReadMessageEnd(ctx); err != nil {
		return false, thrift.NewTProtocolException(err)
	}
	// Java's servers begin so. Clients go by the type: they do without, or try an older call.
	return false, except(ctx, out, string(r), seq, thrift.UNKNOWN_METHOD, fmt.Sprintf("Invalid method name: '%s': %s", r, r.reason()))
}

func (r refusal) reason() string {
	for _, about := range []struct{ words, reason string }{
		{"txn write_id compact dynamic_partitions clean", "transactional (ACID) tables are not served; use external Parquet or Iceberg tables"},
		{"function", "functions are not kept; create a temporary one in your session"},
		{"role privilege", "roles and privileges are not kept: who can reach this metastore may do everything"},
		{"constraint primary_key foreign_key", "constraints are not kept"},
		{"token master_key", "there is no Kerberos here"},
		{"truncate exchange", "this metastore touches no files"},
	} {
		for word := range strings.FieldsSeq(about.words) {
			if strings.Contains(string(r), word) {
				return about.reason
			}
		}
	}
	return "this metastore does not serve it"
}

// except answers a call with an exception of the protocol.
func except(ctx context.Context, out thrift.TProtocol, name string, seq int32, kind int32, text string) thrift.TException {
	x := thrift.NewTApplicationException(kind, text)
	for _, write := range []func() error{
		func() error { return out.WriteMessageBegin(ctx, name, thrift.EXCEPTION, seq) },
		func() error { return x.Write(ctx, out) },
		func() error { return out.WriteMessageEnd(ctx) },
		func() error { return out.Flush(ctx) },
	} {
		if err := write(); err != nil {
			return thrift.WrapTException(err)
		}
	}
	return x
}
