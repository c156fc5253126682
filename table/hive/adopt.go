package hive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	hms "github.com/beltran/gohive/hive_metastore"

	"headwater/schema"
	"headwater/table"
)

// Theirs is a table as somebody has registered it.
type Theirs struct {
	// Ours: Headwater has registered it, or taken it over.
	Ours     bool
	External bool
	// Format is empty for Parquet files, and else what reads its files.
	Format string
	// Below is where the table lies below the root of the tables store, without slashes at its ends; outside it is not in it.
	Location, Below string
	Outside         bool
	// Keys are the partition columns, with their types.
	Keys []Column
	// Columns are the others; of a table that Spark has not registered they are in lower case.
	Columns []Column
	// Schema is that of the columns as Spark knows them; SchemaErr says why there is none.
	Schema     schema.Type
	SchemaErr  error
	Parameters map[string]string
	Partitions []TheirPartition
}

// Column is one of a table's.
type Column struct{ Name, Type string }

// TheirPartition is one partition of a table.
type TheirPartition struct {
	Values []string
	// Below is the folder's path below that of the table; Outside is its whole location if it is elsewhere.
	Below, Outside string
}

// Theirs describes a table whoever has registered it (table.ErrNotExist).
func (c *Catalog) Theirs(ctx context.Context, n table.Name) (out Theirs, err error) {
	err = c.do(ctx, func(ctx context.Context, m *client) error {
		t, err := whose(ctx, m, n)
		if err != nil {
			return err
		}
		out = c.theirs(t)
		names, err := m.GetPartitionNames(ctx, n.Database, n.Table, -1)
		if err != nil {
			return fmt.Errorf("listing the partitions of %s: %w", n, err)
		}
		for part := range slices.Chunk(names, batch) {
			ps, err := m.GetPartitionsByNames(ctx, n.Database, n.Table, part)
			if err != nil {
				return fmt.Errorf("reading partitions of %s: %w", n, err)
			}
			for _, p := range ps {
				their := TheirPartition{Values: p.Values}
				var inside bool
				if their.Below, inside = under(t.Sd.Location, p.Sd.Location); !inside {
					their.Outside = p.Sd.Location
				}
				out.Partitions = append(out.Partitions, their)
			}
		}
		return nil
	})
	return out, err
}

// whose reads a table whoever has registered it.
func whose(ctx context.Context, m *client, n table.Name) (*hms.Table, error) {
	r, err := m.GetTableReq(ctx, &hms.GetTableRequest{DbName: n.Database, TblName: n.Table})
	if _, none := errors.AsType[*hms.NoSuchObjectException](err); none {
		return nil, fmt.Errorf("table %s: %w", n, table.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("reading table %s from the metastore: %w", n, err)
	}
	return r.Table, nil
}

func (c *Catalog) theirs(t *hms.Table) Theirs {
	out := Theirs{
		Ours: ours(t), External: t.TableType == "EXTERNAL_TABLE" || strings.EqualFold(t.Parameters["EXTERNAL"], "true"), Location: t.Sd.Location, Parameters: maps.Clone(t.Parameters),
	}
	if !strings.Contains(strings.ToLower(t.Sd.InputFormat+t.Sd.GetSerdeInfo().GetSerializationLib()), "parquet") {
		out.Format = t.Sd.InputFormat
	}
	var inside bool
	if out.Below, inside = under(c.Location, t.Sd.Location); !inside || out.Below == "" {
		out.Outside = true
	}
	for _, k := range t.PartitionKeys {
		out.Keys = append(out.Keys, Column{k.Name, k.Type})
	}
	for _, k := range t.Sd.Cols {
		out.Columns = append(out.Columns, Column{k.Name, k.Type})
	}
	if got, err := tableOf(t); err == nil {
		out.Schema = got.Schema
	} else {
		out.SchemaErr = err
	}
	return out
}

// under is what follows root in location; false if it is not in it. Schemes of S3 are all one, and so are file:/ and file:///.
func under(root, location string) (below string, ok bool) {
	plain := func(s string) string {
		scheme, rest, found := strings.Cut(strings.TrimSuffix(s, "/"), ":")
		switch {
		case !found:
			return s
		case scheme == "file":
			return "file:/" + strings.TrimLeft(rest, "/")
		case scheme == "s3a" || scheme == "s3n":
			return "s3:" + rest
		}
		return scheme + ":" + rest
	}
	a, b := plain(root), plain(location)
	if a == b {
		return "", true
	}
	return strings.CutPrefix(b, a+"/")
}

// Adopt marks the table as Headwater's. The columns, the owner, the comments and whatever else others have put there stay. A table that Spark has not registered gets its
// columns' types and the case of their names from columns.
func (c *Catalog) Adopt(ctx context.Context, n table.Name, columns schema.Type) error {
	return c.do(ctx, func(ctx context.Context, m *client) error {
		t, err := whose(ctx, m, n)
		if err != nil || ours(t) {
			return err
		}
		t.Parameters = maps.Clone(t.Parameters)
		if _, err := join(t.Parameters, sparkKey); err != nil {
			split(t.Parameters, sparkKey, sparkSchema(columns, t.PartitionKeys))
			partColumns(t.Parameters)
		}
		t.Parameters[oursKey], t.Parameters[versionKey] = "1", "1"
		if err := m.replaceTable(ctx, t); err != nil {
			return fmt.Errorf("marking table %s as headwater's in the metastore: %w", n, err)
		}
		return nil
	})
}

func partColumns(parameters map[string]string) {
	parameters[sparkKey+".numPartCols"] = strconv.Itoa(len(partitionColumns))
	for i, name := range partitionColumns {
		parameters[sparkKey+".partCol."+strconv.Itoa(i)] = name
	}
}

// replaceTable writes what was read, whatever became of it since: who calls has the table for itself.
func (m *client) replaceTable(ctx context.Context, t *hms.Table) error {
	env := &hms.EnvironmentContext{Properties: map[string]string{"DO_NOT_UPDATE_STATS": "true"}}
	return m.AlterTableWithEnvironmentContext(ctx, t.DbName, t.TableName, t, env)
}

// Release takes Headwater's marks off the partitions and the table, and resets the partitions' places to where ps say that their files are. before are the table's
// parameters of the time before it was adopted: what Spark needs to know of it goes with the marks if it was not among them.
func (c *Catalog) Release(ctx context.Context, n table.Name, ps []table.Partition, before map[string]string) error {
	return c.do(ctx, func(ctx context.Context, m *client) error {
		t, err := whose(ctx, m, n)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(ps, batch) {
			if err := c.reset(ctx, m, t, n, part); err != nil {
				return fmt.Errorf("resetting partitions of %s: %w", n, err)
			}
		}
		t.Parameters = maps.Clone(t.Parameters)
		_, spark := join(before, sparkKey)
		maps.DeleteFunc(t.Parameters, func(key, _ string) bool {
			return isOurs(key) || spark != nil && (key == sparkKey || strings.HasPrefix(key, sparkKey+"."))
		})
		if err := m.replaceTable(ctx, t); err != nil {
			return fmt.Errorf("taking headwater's marks off table %s in the metastore: %w", n, err)
		}
		return nil
	})
}

// isOurs says whether a parameter is Headwater's own.
func isOurs(key string) bool { return key == oursKey || strings.HasPrefix(key, oursKey+".") }

// reset registers partitions where the files are, without our marks; one that is missing is added.
func (c *Catalog) reset(ctx context.Context, m *client, t *hms.Table, n table.Name, ps []table.Partition) error {
	if err := c.setPartitions(ctx, m, t, n, ps); err != nil {
		return err
	}
	var names []string
	for _, p := range ps {
		names = append(names, c.partName(n, p.Day))
	}
	there, err := m.GetPartitionsByNames(ctx, n.Database, n.Table, names)
	if err != nil {
		return err
	}
	for _, p := range there {
		maps.DeleteFunc(p.Parameters, func(key, _ string) bool { return isOurs(key) })
	}
	return m.alterPartitions(ctx, t, there)
}

// keepTheirs leaves of the parameters of a new table of ours those that the table of another job needs: it stays of the kind that it is.
func keepTheirs(parameters map[string]string) {
	maps.DeleteFunc(parameters, func(key, _ string) bool {
		return !isOurs(key) && key != sparkKey && !strings.HasPrefix(key, sparkKey+".")
	})
}

// keepPartitions makes of partitions of ours what is to replace those of the table that are there: with what others have put there, and, while their files are those that were there, with
// the columns that they have.
func keepPartitions(t *hms.Table, all, there []*hms.Partition) {
	was := map[string]*hms.Partition{}
	for _, p := range there {
		was[strings.Join(p.Values, "/")] = p
	}
	for _, p := range all {
		next, kept := *t.Sd, false
		old := was[strings.Join(p.Values, "/")]
		if old != nil {
			next = *old.Sd
			kept = same(next.Location, p.Sd.Location) && (old.Parameters[runKey] == "" || old.Parameters[runKey] == p.Parameters[runKey])
			p.CreateTime, p.LastAccessTime = old.CreateTime, old.LastAccessTime
			maps.DeleteFunc(old.Parameters, func(key, _ string) bool { return isOurs(key) })
			mine := p.Parameters
			p.Parameters = maps.Clone(old.Parameters)
			maps.Copy(p.Parameters, mine)
		}
		if !kept {
			next.Cols = p.Sd.Cols
		}
		if old == nil || !same(next.Location, p.Sd.Location) {
			next.Location = p.Sd.Location
			info := *next.SerdeInfo
			if info.Parameters = maps.Clone(info.Parameters); info.Parameters["path"] != "" {
				info.Parameters["path"] = p.Sd.Location
			}
			next.SerdeInfo = &info
		}
		p.Sd = &next
	}
}

// inOrder is next with the fields that before has in their order there, in structs too, and the others after them.
func inOrder(before, next schema.Type) schema.Type {
	switch {
	case before.Kind != next.Kind:
		return next
	case next.Kind == schema.List || next.Kind == schema.Map:
		elem := inOrder(*before.Elem, *next.Elem)
		next.Elem = &elem
		return next
	case next.Kind != schema.Struct:
		return next
	}
	at := map[string]int{}
	for i, f := range before.Fields {
		at[f.Name] = i
	}
	next.Fields = slices.Clone(next.Fields)
	place := func(f schema.Field) int {
		if i, found := at[f.Name]; found {
			return i
		}
		return len(before.Fields)
	}
	slices.SortStableFunc(next.Fields, func(a, b schema.Field) int { return cmp.Compare(place(a), place(b)) })
	for i, f := range next.Fields {
		if was, found := at[f.Name]; found {
			next.Fields[i].Type = inOrder(before.Fields[was].Type, f.Type)
		}
	}
	return next
}

// same says whether two locations are one.
func same(a, b string) bool {
	below, inside := under(a, b)
	return inside && below == ""
}
