// Package hive is a catalog in a Hive Metastore, over its thrift protocol: the tables are there for Spark, Hive, Trino and whoever
// else reads it.
//
// What enters: tables and partitions with their schemas. What leaves: external tables of Parquet files, with Hive's columns and with
// the properties that Spark's data sources have, in which case and nesting survive, and our own facts in parameters whose names begin
// with headwater. Calls are those that Hive 2.3, 3 and 4 have in common. No goroutine runs between calls; one connection is kept, and
// made anew, to the next address if need be, when it fails.
//
// Format: docs/format/hive.md.
package hive

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	hms "github.com/beltran/gohive/hive_metastore"

	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/schema"
	"headwater/table"
)

// ErrForeign refuses a table of this name that Headwater did not register.
var ErrForeign = errors.New("the metastore has a table of this name that is not headwater's")

// Config names the metastore.
type Config struct {
	// URIs are tried in turn until one answers.
	URIs []string `yaml:"uris"`
	// S3Scheme is how the readers of the tables spell s3 in the locations of tables that lie there: s3a for Hadoop's own, s3 for Amazon's.
	S3Scheme string `yaml:"s3_scheme"`
	// TLS encrypts the connections; without it they are plain.
	TLS *TLS `yaml:"tls"`
	// SASL is how Headwater proves who it is; without it, it does not.
	SASL *SASL `yaml:"sasl"`
	// Username is who Headwater says it is, without a proof, to metastores that take that (hive.metastore.execute.setugi). Its tables belong to it.
	Username string `yaml:"username"`
	// Timeout bounds a call, connecting included.
	Timeout time.Duration `yaml:"timeout"`
}

// rest is how many timeouts long a metastore that hangs is not asked: who waits for it, one table after the other, does nothing else.
const rest = 5

// DefaultConfig has no address.
func DefaultConfig() Config { return Config{S3Scheme: "s3a", Timeout: time.Minute} }

// Validate says what cannot work.
func (c Config) Validate() setting.Faults {
	var faults setting.Faults
	for i, text := range c.URIs {
		if _, err := address(text); err != nil {
			faults.Add([]string{"uris", strconv.Itoa(i)}, "%v", err)
		}
	}
	if c.S3Scheme != "s3" && c.S3Scheme != "s3a" {
		faults.Add([]string{"s3_scheme"}, "must be s3a or s3, got %q", c.S3Scheme)
	}
	if c.Timeout <= 0 {
		faults.Add([]string{"timeout"}, "must be more than 0, got %s", c.Timeout)
	}
	c.validateAccess(&faults)
	return faults
}

func address(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "thrift" || u.Hostname() == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return "", fmt.Errorf("must be as thrift://metastore:9083, got %q", text)
	}
	return u.Host, nil
}

// Options are what Open needs.
type Options struct {
	Config Config
	// Location is the URL of the tables store's root as the readers of the tables spell it, without a slash at its end: file:///srv/tables.
	Location string
	// Own says that the metastore is this pipeline's alone: a table that is registered elsewhere is then one whose files were moved.
	Own bool
	// Layout says of a table that another job made where it lies and how it spells its days; nil if there are none.
	Layout func(n table.Name) (table.Layout, bool)
}

// layout is that of an adopted table.
func (o Options) layout(n table.Name) (table.Layout, bool) {
	if o.Layout == nil {
		return table.Layout{}, false
	}
	return o.Layout(n)
}

// values are those of a day's partition.
func (o Options) values(n table.Name, d table.Day) []string {
	l, _ := o.layout(n)
	v := d.Spell(l.Values)
	return v[:]
}

// partName is the metastore's name of a day's partition.
func (o Options) partName(n table.Name, d table.Day) string {
	return table.DayPath([3]string(o.values(n, d)))
}

// Catalog keeps tables in a metastore. It implements table.Catalog; Close ends its connection. It lists only the tables that
// Headwater registered.
type Catalog struct {
	Options
	lost      atomic.Int64
	mu        sync.Mutex
	addresses []string
	client    *client   // nil without a connection
	rest      time.Time // until when calls fail at once
	stalled   error     // as this one did
}

var _ table.Catalog = (*Catalog)(nil)

// Open makes a catalog, and connects when it is first asked.
func Open(o Options) (*Catalog, error) {
	c := &Catalog{Options: o}
	for _, text := range o.Config.URIs {
		a, err := address(text)
		if err != nil {
			return nil, fmt.Errorf("hive.uris: %w", err)
		}
		c.addresses = append(c.addresses, a)
	}
	if len(c.addresses) == 0 {
		return nil, errors.New("hive.uris names no metastore")
	}
	return c, nil
}

// Close ends the connection. The catalog may be used again, which connects anew.
func (c *Catalog) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disconnect()
	return nil
}

// Tables lists Headwater's tables of all databases, by name.
func (c *Catalog) Tables(ctx context.Context) ([]table.Table, error) {
	out := []table.Table{}
	err := c.do(ctx, func(ctx context.Context, m *client) error {
		out = out[:0]
		databases, err := m.GetAllDatabases(ctx)
		if err != nil {
			return fmt.Errorf("listing the databases: %w", err)
		}
		slices.Sort(databases)
		for _, d := range databases {
			names, err := m.GetAllTables(ctx, d)
			if err != nil {
				return fmt.Errorf("listing the tables of %s: %w", d, err)
			}
			slices.Sort(names)
			for part := range slices.Chunk(names, 100) {
				r, err := m.GetTableObjectsByNameReq(ctx, &hms.GetTablesRequest{DbName: d, TblNames: part})
				if err != nil {
					return fmt.Errorf("reading tables of %s: %w", d, err)
				}
				for _, t := range r.Tables {
					if !ours(t) {
						continue
					}
					entry, err := tableOf(t)
					if err != nil {
						return err
					}
					out = append(out, entry)
				}
			}
		}
		slices.SortFunc(out, func(a, b table.Table) int { return strings.Compare(a.Name.String(), b.Name.String()) })
		return nil
	})
	return out, err
}

// Table describes one. One that is not Headwater's is ErrForeign.
func (c *Catalog) Table(ctx context.Context, n table.Name) (t table.Table, err error) {
	err = c.do(ctx, func(ctx context.Context, m *client) error {
		got, err := get(ctx, m, n)
		if err == nil {
			t, err = tableOf(got)
		}
		return err
	})
	return t, err
}

// get reads a table of ours.
func get(ctx context.Context, m *client, n table.Name) (*hms.Table, error) {
	t, err := whose(ctx, m, n)
	if err != nil {
		return nil, err
	}
	if !ours(t) {
		return nil, retry.Stop(fmt.Errorf("table %s: %w (%s of %s at %s): have headwater tables adopt take it over, drop it there, or give the source's tables other names (sources.NAME.tables)",
			n, ErrForeign, t.TableType, t.Owner, t.GetSd().GetLocation()))
	}
	return t, nil
}

// Partitions lists a table's partitions by day: those that Headwater registered.
func (c *Catalog) Partitions(ctx context.Context, n table.Name) (out []table.Partition, err error) {
	err = c.do(ctx, func(ctx context.Context, m *client) error {
		out = []table.Partition{}
		if _, err := get(ctx, m, n); err != nil {
			return err
		}
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
				entry, ok, err := partitionOf(n, p)
				if err != nil {
					return err
				}
				if ok {
					out = append(out, entry)
				}
			}
		}
		slices.SortFunc(out, func(a, b table.Partition) int { return a.Day.Compare(b.Day) })
		return nil
	})
	return out, err
}

// Ensure makes the table, and its database, exist with at least t's columns.
func (c *Catalog) Ensure(ctx context.Context, t table.Table) error {
	return c.do(ctx, func(ctx context.Context, m *client) error {
		for {
			now, err := get(ctx, m, t.Name)
			switch {
			case errors.Is(err, table.ErrNotExist):
				err = c.create(ctx, m, t)
			case err != nil:
			default:
				var enough bool
				if enough, err = c.widen(ctx, m, now, t); enough && err == nil {
					return nil
				}
			}
			// Another writer may have been there between our look and our write: look again.
			if err != nil && !lost(err) {
				return err
			}
		}
	})
}

// lost reports whether another writer was first.
func lost(err error) bool {
	if _, taken := errors.AsType[*hms.AlreadyExistsException](err); taken {
		return true
	}
	m, is := errors.AsType[*hms.MetaException](err)
	return is && strings.Contains(m.Message, "The table has been modified")
}

func (c *Catalog) create(ctx context.Context, m *client, t table.Table) error {
	err := m.CreateTable(ctx, c.newTable(t))
	if err == nil || lost(err) || broken(err) {
		return err
	}
	// Hive 2 and 3 say in different ways that there is no database, so make it and try again.
	database := &hms.Database{Name: t.Name.Database, LocationUri: c.Location + "/" + t.Name.Database, Parameters: map[string]string{}}
	if derr := m.CreateDatabase(ctx, database); derr != nil && !lost(derr) {
		return fmt.Errorf("creating database %s in the metastore: %w", t.Name.Database, derr)
	}
	next := c.newTable(t)
	if err := m.CreateTable(ctx, next); err != nil {
		return fmt.Errorf("creating table %s in the metastore: %w", t.Name, tooLong(err, next.Sd.Cols))
	}
	return nil
}

// widen gives the table what t has more than it, and reports whether there was nothing to give.
func (c *Catalog) widen(ctx context.Context, m *client, now *hms.Table, t table.Table) (bool, error) {
	has, err := tableOf(now)
	if err != nil {
		return false, err
	}
	want := table.Table{Name: t.Name, Schema: schema.Merge(has.Schema, t.Schema), CompleteThrough: table.Latest(has.CompleteThrough, t.CompleteThrough)}
	if _, adopted := c.layout(t.Name); adopted {
		// It lies where the one who made it wants it, and has its columns in his order.
		want.Schema = inOrder(has.Schema, want.Schema)
	} else if location := c.location(t.Name); now.Sd.Location != location && !sameFile(now.Sd.Location, location) {
		if !c.Own {
			return false, retry.Stop(fmt.Errorf("table %s is registered at %s, and this pipeline's is at %s: two pipelines have the same names, or the files were moved: then drop the table in the metastore",
				t.Name, now.Sd.Location, location))
		}
		// Its partitions are elsewhere too; whoever moved the files registers them again.
		if err := m.DropTable(ctx, t.Name.Database, t.Name.Table, false); err != nil {
			return false, fmt.Errorf("dropping table %s, whose files were moved: %w", t.Name, err)
		}
		return false, nil
	}
	if schema.Equal(has.Schema, want.Schema) && has.CompleteThrough == want.CompleteThrough {
		if now.Parameters[behindKey] == "" {
			return true, nil
		}
		return false, m.cascade(ctx, now)
	}
	return false, c.alter(ctx, m, now, want, retyped(has.Schema, want.Schema))
}

// retyped says whether a column has another type afterwards.
func retyped(before, after schema.Type) bool {
	of := map[string]schema.Type{}
	for _, f := range after.Fields {
		of[f.Name] = f.Type
	}
	return slices.ContainsFunc(before.Fields, func(f schema.Field) bool { return !schema.Equal(f.Type, of[f.Name]) })
}

// alter gives the table want's schema if it is still as it was when now was read. Metastores that do not compare (Hive before 4)
// are asked again by Ensure, which sees what a writer at the same time has undone. Where columns have other types, the partitions get them too (see
// newPartition), at once if a call has the time for it; else after the table and marked there, so that whoever comes after this process goes on with
// them. New columns alone cost no change of partitions.
func (c *Catalog) alter(ctx context.Context, m *client, now *hms.Table, want table.Table, cascade bool) error {
	version := now.Parameters[versionKey]
	next := c.newTable(want)
	if text, err := join(now.Parameters, sparkKey); err == nil {
		split(next.Parameters, sparkKey, commented(text, sparkSchema(want.Schema, now.PartitionKeys)))
	}
	if _, adopted := c.layout(want.Name); adopted {
		keepTheirs(next.Parameters)
	}
	cols := ordered(now.Sd.Cols, next.Sd.Cols)
	kept := unchanged(now.Sd.Cols, cols)
	before := maps.Clone(now.Parameters)
	n, _ := strconv.Atoi(version)
	next.Parameters[versionKey] = strconv.Itoa(n + 1)
	if cascade {
		names, err := m.GetPartitionNames(ctx, want.Name.Database, want.Name.Table, -1)
		if err != nil {
			return fmt.Errorf("listing the partitions of %s: %w", want.Name, err)
		}
		if cascade = len(names) <= mostCascaded; !cascade {
			next.Parameters[behindKey] = "1"
		}
	}
	now.Parameters = merged(before, next.Parameters)
	now.Sd.Cols = cols
	err := m.alterTable(ctx, now, version, cascade)
	if _, no := errors.AsType[*hms.InvalidOperationException](err); no && kept < len(cols) {
		// Hive compares the columns at the same places and lets no struct grow (hive.metastore.disallow.incompatible.col.type.changes).
		// So the changed columns, and those after them, go first and come back in a second step; Spark, which goes by the parameters,
		// sees only the second. So does widen: if it does not come to that, the next Ensure finds the old schema, and changes it.
		now.Sd.Cols, now.Parameters = cols[:kept], before
		before[versionKey] = strconv.Itoa(n + 1)
		if err = m.alterTable(ctx, now, version, false); err == nil {
			next.Parameters[versionKey] = strconv.Itoa(n + 2)
			now.Sd.Cols, now.Parameters = cols, merged(before, next.Parameters)
			err = m.alterTable(ctx, now, before[versionKey], cascade)
		}
	}
	if err != nil && !lost(err) {
		return fmt.Errorf("changing the columns of %s in the metastore: %w", want.Name, tooLong(err, cols))
	}
	return err
}

// SetPartitions adds the partitions or replaces those of the same day. A metastore has no call that does both: after an error some
// may have been added, and none replaced.
func (c *Catalog) SetPartitions(ctx context.Context, n table.Name, ps []table.Partition) error {
	return c.do(ctx, func(ctx context.Context, m *client) error {
		t, err := get(ctx, m, n)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(ps, batch) {
			if err := c.setPartitions(ctx, m, t, n, part); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *Catalog) setPartitions(ctx context.Context, m *client, t *hms.Table, n table.Name, ps []table.Partition) error {
	var all []*hms.Partition
	var names []string
	ours, _ := tableOf(t) // somebody else may have made it, without a schema that we read
	for _, p := range ps {
		all, names = append(all, c.newPartition(t, ours.Schema, p)), append(names, c.partName(n, p.Day))
	}
	there, err := m.GetPartitionsByNames(ctx, n.Database, n.Table, names)
	if err != nil {
		return fmt.Errorf("reading partitions of %s: %w", n, err)
	}
	has := map[string]bool{}
	for _, p := range there {
		has[strings.Join(p.Values, "/")] = true
	}
	if _, adopted := c.layout(n); adopted {
		keepPartitions(t, all, there)
	}
	var added, replaced []*hms.Partition
	for _, p := range all {
		if has[strings.Join(p.Values, "/")] {
			replaced = append(replaced, p)
		} else {
			added = append(added, p)
		}
	}
	if len(added) > 0 {
		_, err := m.AddPartitionsReq(ctx, &hms.AddPartitionsRequest{DbName: n.Database, TblName: n.Table, Parts: added})
		if _, raced := errors.AsType[*hms.AlreadyExistsException](err); raced {
			replaced, err = all, c.addMissing(ctx, m, n, added)
		}
		if err != nil {
			return fmt.Errorf("adding partitions to %s: %w", n, err)
		}
	}
	if len(replaced) > 0 {
		if err := m.alterPartitions(ctx, t, replaced); err != nil {
			return fmt.Errorf("replacing partitions of %s: %w", n, err)
		}
	}
	return nil
}

// addMissing adds those that nobody else has added meanwhile.
func (c *Catalog) addMissing(ctx context.Context, m *client, n table.Name, ps []*hms.Partition) error {
	_, err := m.AddPartitionsReq(ctx, &hms.AddPartitionsRequest{DbName: n.Database, TblName: n.Table, Parts: ps, IfNotExists: true})
	return err
}

// DropPartitions forgets the partitions of these days that Headwater registered.
func (c *Catalog) DropPartitions(ctx context.Context, n table.Name, days []table.Day) error {
	return c.do(ctx, func(ctx context.Context, m *client) error {
		if _, err := get(ctx, m, n); err != nil {
			return err
		}
		for part := range slices.Chunk(days, batch) {
			if err := c.dropPartitions(ctx, m, n, part); err != nil {
				return fmt.Errorf("dropping partitions of %s: %w", n, err)
			}
		}
		return nil
	})
}

func (c *Catalog) dropPartitions(ctx context.Context, m *client, n table.Name, days []table.Day) error {
	var names []string
	for _, d := range days {
		names = append(names, c.partName(n, d))
	}
	there, err := m.GetPartitionsByNames(ctx, n.Database, n.Table, names)
	if err != nil {
		return err
	}
	names = names[:0]
	for _, p := range there {
		if entry, ours, err := partitionOf(n, p); err == nil && ours {
			names = append(names, c.partName(n, entry.Day))
		}
	}
	if len(names) == 0 {
		return nil
	}
	_, err = m.DropPartitionsReq(ctx, &hms.DropPartitionsRequest{
		DbName: n.Database, TblName: n.Table, Parts: &hms.RequestPartsSpec{Names: names}, DeleteData: new(false), IfExists: true, NeedResult_: false,
	})
	return err
}

// Drop forgets the table and its partitions and touches no file.
func (c *Catalog) Drop(ctx context.Context, n table.Name) error {
	asked := false
	return c.do(ctx, func(ctx context.Context, m *client) error {
		_, err := get(ctx, m, n)
		if asked && errors.Is(err, table.ErrNotExist) {
			return nil // the answer was lost
		}
		if err != nil {
			return err
		}
		asked = true
		if err := m.DropTable(ctx, n.Database, n.Table, false); err != nil {
			return fmt.Errorf("dropping %s: %w", n, err)
		}
		return nil
	})
}
