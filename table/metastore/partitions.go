package metastore

import (
	"context"
	"slices"
	"strings"

	hms "github.com/beltran/gohive/hive_metastore"
)

// prepare makes p a partition of t: what it leaves out is the table's.
func prepare(t *hms.Table, p *hms.Partition) error {
	if len(t.PartitionKeys) == 0 {
		return invalid("%s.%s is not partitioned", t.DbName, t.TableName)
	}
	if p == nil {
		return invalid("no partition")
	}
	if len(p.Values) != len(t.PartitionKeys) {
		return invalid("a partition of %s.%s needs %d values, got %v", t.DbName, t.TableName, len(t.PartitionKeys), p.Values)
	}
	if p.Sd == nil || (p.Sd.InputFormat == "" && len(p.Sd.Cols) == 0) { // generated clients send an empty one for none
		own := p.Sd
		if p.Sd = copyOf(t.Sd); own == nil {
			own = &hms.StorageDescriptor{}
		}
		p.Sd.Location = own.Location
	}
	if p.Sd.Location == "" && t.Sd.Location != "" {
		p.Sd.Location = strings.TrimSuffix(t.Sd.Location, "/") + "/" + partitionName(t, p.Values)
	}
	p.DbName, p.TableName, p.CatName = t.DbName, t.TableName, nil
	if p.CreateTime == 0 {
		p.CreateTime = now()
	}
	if p.Parameters == nil {
		p.Parameters = map[string]string{}
	}
	return nil
}

// inTable does f with the table, which must be there.
func (s *service) inTable(ctx context.Context, database, name string, f func(transaction, *hms.Table) error) error {
	return s.objects.do(ctx, with(database, name, f))
}

// ofTable does f, which changes nothing, with the table, which must be there.
func (s *service) ofTable(ctx context.Context, database, name string, f func(transaction, *hms.Table) error) error {
	return s.objects.look(ctx, with(database, name, f))
}

func with(database, name string, f func(transaction, *hms.Table) error) func(transaction) error {
	return func(tx transaction) error {
		t, err := tx.table(normal(database), normal(name))
		if err != nil {
			return err
		}
		return f(tx, t)
	}
}

// add adds all or none. Those that are there already are left as they are, if that is allowed, and not returned.
func (s *service) add(ctx context.Context, database, name string, ps []*hms.Partition, ifNotExists bool) ([]*hms.Partition, error) {
	added := []*hms.Partition{}
	err := s.inTable(ctx, database, name, func(tx transaction, t *hms.Table) error {
		for _, p := range ps {
			if err := prepare(t, p); err != nil {
				return err
			}
			isNew, err := tx.addPartition(t, p)
			switch {
			case err != nil:
				return err
			case isNew:
				added = append(added, p)
			case !ifNotExists:
				return exists("Partition already exists: %s of %s.%s", partitionName(t, p.Values), t.DbName, t.TableName)
			}
		}
		return nil
	})
	if n, none := err.(*hms.NoSuchObjectException); none { // the calls that add have no other way to say so
		err = invalid("Unable to add partitions: %s", n.Message)
	}
	return added, err
}

func (s *service) AddPartition(ctx context.Context, p *hms.Partition) (*hms.Partition, error) {
	if p == nil {
		return nil, invalid("no partition")
	}
	_, err := s.add(ctx, p.DbName, p.TableName, []*hms.Partition{p}, false)
	return p, err
}

func (s *service) AddPartitionWithEnvironmentContext(ctx context.Context, p *hms.Partition, _ *hms.EnvironmentContext) (*hms.Partition, error) {
	return s.AddPartition(ctx, p)
}

func (s *service) AddPartitions(ctx context.Context, ps []*hms.Partition) (int32, error) {
	if len(ps) == 0 {
		return 0, nil
	}
	added, err := s.add(ctx, ps[0].DbName, ps[0].TableName, ps, false)
	return int32(len(added)), err
}

func (s *service) AddPartitionsReq(ctx context.Context, r *hms.AddPartitionsRequest) (*hms.AddPartitionsResult_, error) {
	added, err := s.add(ctx, r.GetDbName(), r.GetTblName(), r.GetParts(), r.GetIfNotExists())
	if err != nil {
		return nil, err
	}
	out := &hms.AddPartitionsResult_{}
	if r.NeedResult_ {
		out.Partitions = added
	}
	return out, nil
}

func (s *service) AppendPartition(ctx context.Context, database, name string, values []string) (*hms.Partition, error) {
	return s.AddPartition(ctx, &hms.Partition{DbName: database, TableName: name, Values: values})
}

func (s *service) AppendPartitionWithEnvironmentContext(ctx context.Context, database, name string, values []string, _ *hms.EnvironmentContext) (*hms.Partition, error) {
	return s.AppendPartition(ctx, database, name, values)
}

func (s *service) GetPartition(ctx context.Context, database, name string, values []string) (p *hms.Partition, err error) {
	err = s.ofTable(ctx, database, name, func(tx transaction, t *hms.Table) error {
		if len(values) == len(t.PartitionKeys) {
			if p, err = tx.partition(t, partitionName(t, values)); err != nil {
				return err
			}
		}
		if p == nil {
			return missing("partition values=%v", values)
		}
		return nil
	})
	return p, err
}

func (s *service) GetPartitionWithAuth(ctx context.Context, database, name string, values []string, _ string, _ []string) (*hms.Partition, error) {
	return s.GetPartition(ctx, database, name, values)
}

func (s *service) GetPartitionByName(ctx context.Context, database, name, partition string) (*hms.Partition, error) {
	_, values, err := parsePartitionName(partition)
	if err != nil {
		return nil, meta("%v", err)
	}
	return s.GetPartition(ctx, database, name, values)
}

// limited is at most n of all; a negative n is any number.
func limited[T any](all []T, n int) []T {
	if n >= 0 && n < len(all) {
		return all[:n]
	}
	return all
}

// choice makes, for a table, what says of a partition's name whether it is wanted; a nil one wants all.
type choice func(*hms.Table) (func(name string) bool, error)

// names are those of at most n partitions that are wanted, in order.
func (c choice) names(tx transaction, t *hms.Table, n int) ([]string, error) {
	names, err := tx.partitionNames(t)
	if err == nil && c != nil {
		wanted, no := c(t)
		if no != nil {
			return nil, no
		}
		names = matching(names, wanted)
	}
	return limited(names, n), err
}

// where returns at most n partitions that c wants, by name.
func (s *service) where(ctx context.Context, database, name string, n int, c choice) (out []*hms.Partition, err error) {
	if err := s.hold(ctx); err != nil {
		return nil, err
	}
	err = s.ofTable(ctx, database, name, func(tx transaction, t *hms.Table) error {
		var names []string // nil is all
		if c != nil || n >= 0 {
			if names, err = c.names(tx, t, n); err != nil {
				return err
			}
		}
		out, err = tx.partitions(t, names)
		return err
	})
	return out, err
}

// starting wants the partitions whose first values are these; an empty one is any.
func starting(values []string) choice {
	return func(t *hms.Table) (func(string) bool, error) {
		if len(values) > len(t.PartitionKeys) {
			return nil, meta("%s.%s has %d partition columns, got %d values", t.DbName, t.TableName, len(t.PartitionKeys), len(values))
		}
		return func(name string) bool {
			_, is, err := parsePartitionName(name)
			for i, v := range values {
				if v != "" && (err != nil || is[i] != v) {
					return false
				}
			}
			return true
		}, nil
	}
}

func filtered(text string) choice {
	return func(t *hms.Table) (func(string) bool, error) { return parseFilter(text, t.PartitionKeys) }
}

// named wants the partitions of the names, in whichever spelling.
func named(names []string) choice {
	return func(t *hms.Table) (func(string) bool, error) {
		wanted := map[string]bool{}
		for _, n := range names {
			_, values, err := parsePartitionName(n)
			if err != nil || len(values) != len(t.PartitionKeys) {
				return nil, meta("%q is not the name of a partition of %s.%s", n, t.DbName, t.TableName)
			}
			wanted[partitionName(t, values)] = true
		}
		return func(n string) bool { return wanted[n] }, nil
	}
}

func (s *service) GetPartitions(ctx context.Context, database, name string, n int16) ([]*hms.Partition, error) {
	return s.where(ctx, database, name, int(n), nil)
}

func (s *service) GetPartitionsWithAuth(ctx context.Context, database, name string, n int16, _ string, _ []string) ([]*hms.Partition, error) {
	return s.GetPartitions(ctx, database, name, n)
}

func (s *service) GetPartitionsPs(ctx context.Context, database, name string, values []string, n int16) ([]*hms.Partition, error) {
	return s.where(ctx, database, name, int(n), starting(values))
}

func (s *service) GetPartitionsPsWithAuth(ctx context.Context, database, name string, values []string, n int16, _ string, _ []string) ([]*hms.Partition, error) {
	return s.GetPartitionsPs(ctx, database, name, values, n)
}

func (s *service) GetPartitionsByFilter(ctx context.Context, database, name, filter string, n int16) ([]*hms.Partition, error) {
	return s.where(ctx, database, name, int(n), filtered(filter))
}

func (s *service) GetNumPartitionsByFilter(ctx context.Context, database, name, filter string) (int32, error) {
	names, err := s.names(ctx, database, name, -1, filtered(filter))
	return int32(len(names)), err
}

// names are those of at most n partitions that c wants, in order.
func (s *service) names(ctx context.Context, database, name string, n int, c choice) (out []string, err error) {
	err = s.ofTable(ctx, database, name, func(tx transaction, t *hms.Table) error {
		out, err = c.names(tx, t, n)
		return err
	})
	return out, err
}

// expression is the choice that an expression makes, if it is known. Hive's clients send a serialized Java object, which is not; some of Hive 4
// send the text of a filter.
func expression(expr []byte, t *hms.Table) (choice, bool) {
	wanted, err := parseFilter(string(expr), t.PartitionKeys)
	if err != nil || len(expr) == 0 {
		return nil, false
	}
	return func(*hms.Table) (func(string) bool, error) { return wanted, nil }, true
}

// GetPartitionsByExpr returns, of an expression that is not known, all partitions and says that there may be too many: the client, which knows it,
// filters what it gets.
func (s *service) GetPartitionsByExpr(ctx context.Context, r *hms.PartitionsByExprRequest) (*hms.PartitionsByExprResult_, error) {
	out := &hms.PartitionsByExprResult_{}
	if err := s.hold(ctx); err != nil {
		return out, err
	}
	err := s.ofTable(ctx, r.GetDbName(), r.GetTblName(), func(tx transaction, t *hms.Table) error {
		c, known := expression(r.GetExpr(), t)
		names, err := c.names(tx, t, int(r.GetMaxParts()))
		if err != nil {
			return err
		}
		out.HasUnknownPartitions = !known
		out.Partitions, err = tx.partitions(t, names)
		return err
	})
	return out, err
}

// GetPartitionsByNames leaves out those that are not there.
func (s *service) GetPartitionsByNames(ctx context.Context, database, name string, names []string) ([]*hms.Partition, error) {
	return s.where(ctx, database, name, -1, named(names))
}

func (s *service) GetPartitionsByNamesReq(ctx context.Context, r *hms.GetPartitionsByNamesRequest) (*hms.GetPartitionsByNamesResult_, error) {
	ps, err := s.GetPartitionsByNames(ctx, r.GetDbName(), r.GetTblName(), r.GetNames())
	if err != nil {
		return nil, err
	}
	return &hms.GetPartitionsByNamesResult_{Partitions: ps}, nil
}

func (s *service) GetPartitionNames(ctx context.Context, database, name string, n int16) ([]string, error) {
	return s.names(ctx, database, name, int(n), nil)
}

func (s *service) GetPartitionNamesPs(ctx context.Context, database, name string, values []string, n int16) ([]string, error) {
	return s.names(ctx, database, name, int(n), starting(values))
}

func (s *service) PartitionNameToVals(_ context.Context, name string) ([]string, error) {
	_, values, err := parsePartitionName(name)
	if err != nil {
		return nil, meta("%v", err)
	}
	return values, nil
}

func (s *service) PartitionNameToSpec(_ context.Context, name string) (map[string]string, error) {
	keys, values, err := parsePartitionName(name)
	if err != nil {
		return nil, meta("%v", err)
	}
	spec := map[string]string{}
	for i := range keys {
		spec[keys[i]] = values[i]
	}
	return spec, nil
}

// alter replaces all or none; each must be there.
func (s *service) alter(ctx context.Context, database, name string, ps []*hms.Partition) error {
	err := s.inTable(ctx, database, name, func(tx transaction, t *hms.Table) error {
		for _, p := range ps {
			if err := prepare(t, p); err != nil {
				return refused("%v", err)
			}
			if err := tx.alterPartition(t, partitionName(t, p.Values), p); err != nil {
				return err
			}
		}
		return nil
	})
	if n, none := err.(*hms.NoSuchObjectException); none { // the calls that alter have no other way to say so
		err = refused("%s", n.Message)
	}
	return err
}

func (s *service) AlterPartition(ctx context.Context, database, name string, p *hms.Partition) error {
	return s.alter(ctx, database, name, []*hms.Partition{p})
}

func (s *service) AlterPartitionWithEnvironmentContext(ctx context.Context, database, name string, p *hms.Partition, _ *hms.EnvironmentContext) error {
	return s.AlterPartition(ctx, database, name, p)
}

func (s *service) AlterPartitions(ctx context.Context, database, name string, ps []*hms.Partition) error {
	return s.alter(ctx, database, name, ps)
}

func (s *service) AlterPartitionsWithEnvironmentContext(ctx context.Context, database, name string, ps []*hms.Partition, _ *hms.EnvironmentContext) error {
	return s.alter(ctx, database, name, ps)
}

func (s *service) AlterPartitionsReq(ctx context.Context, r *hms.AlterPartitionsRequest) (*hms.AlterPartitionsResponse, error) {
	return &hms.AlterPartitionsResponse{}, s.alter(ctx, r.GetDbName(), r.GetTableName(), r.GetPartitions())
}

func (s *service) RenamePartition(ctx context.Context, database, name string, values []string, p *hms.Partition) error {
	err := s.inTable(ctx, database, name, func(tx transaction, t *hms.Table) error {
		if err := prepare(t, p); err != nil {
			return refused("%v", err)
		}
		if len(values) != len(t.PartitionKeys) {
			return refused("%s.%s has %d partition columns, got the values %v", t.DbName, t.TableName, len(t.PartitionKeys), values)
		}
		from, to := partitionName(t, values), partitionName(t, p.Values)
		if there, err := tx.partition(t, to); err != nil || (there != nil && from != to) {
			return refused("Partition already exists: %s (%v)", to, err)
		}
		return tx.alterPartition(t, from, p)
	})
	if n, none := err.(*hms.NoSuchObjectException); none {
		err = refused("%s", n.Message)
	}
	return err
}

// drop drops all or none. Those that are not there are passed over if that is allowed.
func (s *service) drop(tx transaction, t *hms.Table, names []string, ifExists, deleteData bool) ([]*hms.Partition, error) {
	dropped := []*hms.Partition{}
	for _, name := range names {
		_, values, err := parsePartitionName(name)
		if err != nil || len(values) != len(t.PartitionKeys) {
			return nil, meta("%q is not the name of a partition of %s.%s", name, t.DbName, t.TableName)
		}
		name = partitionName(t, values)
		p, err := tx.partition(t, name)
		if err != nil {
			return nil, err
		}
		if p == nil {
			if ifExists {
				continue
			}
			return nil, missing("partition %s of %s.%s", name, t.DbName, t.TableName)
		}
		if err := tx.dropPartition(t, name); err != nil {
			return nil, err
		}
		dropped = append(dropped, p)
	}
	s.mentionFiles(t, deleteData && len(dropped) > 0)
	return dropped, nil
}

func (s *service) DropPartition(ctx context.Context, database, name string, values []string, deleteData bool) (bool, error) {
	err := s.inTable(ctx, database, name, func(tx transaction, t *hms.Table) error {
		if len(values) != len(t.PartitionKeys) {
			return meta("%s.%s has %d partition columns, got the values %v", t.DbName, t.TableName, len(t.PartitionKeys), values)
		}
		_, err := s.drop(tx, t, []string{partitionName(t, values)}, false, deleteData)
		return err
	})
	return err == nil, err
}

func (s *service) DropPartitionWithEnvironmentContext(ctx context.Context, database, name string, values []string, deleteData bool, _ *hms.EnvironmentContext) (bool, error) {
	return s.DropPartition(ctx, database, name, values, deleteData)
}

func (s *service) DropPartitionByName(ctx context.Context, database, name, partition string, deleteData bool) (bool, error) {
	_, values, err := parsePartitionName(partition)
	if err != nil {
		return false, meta("%v", err)
	}
	return s.DropPartition(ctx, database, name, values, deleteData)
}

func (s *service) DropPartitionByNameWithEnvironmentContext(ctx context.Context, database, name, partition string, deleteData bool, _ *hms.EnvironmentContext) (bool, error) {
	return s.DropPartitionByName(ctx, database, name, partition, deleteData)
}

func (s *service) DropPartitionsReq(ctx context.Context, r *hms.DropPartitionsRequest) (*hms.DropPartitionsResult_, error) {
	if r.Parts == nil {
		return nil, meta("no partitions are named")
	}
	out := &hms.DropPartitionsResult_{}
	err := s.inTable(ctx, r.GetDbName(), r.GetTblName(), func(tx transaction, t *hms.Table) error {
		partitions, err := r.Parts.Names, error(nil)
		if len(r.Parts.Exprs) > 0 {
			if partitions, err = expressed(tx, t, r.Parts.Exprs); err != nil {
				return err
			}
		}
		dropped, err := s.drop(tx, t, partitions, r.GetIfExists(), r.GetDeleteData())
		if r.NeedResult_ {
			out.Partitions = dropped
		}
		return err
	})
	return out, err
}

// expressed are the names of the partitions that any of the expressions wants.
func expressed(tx transaction, t *hms.Table, exprs []*hms.DropPartitionsExpr) ([]string, error) {
	var out []string
	for _, e := range exprs {
		c, known := expression(e.GetExpr(), t)
		if !known {
			return nil, meta("partitions can be dropped by name or by a filter only: the expressions of Hive are serialized Java objects")
		}
		names, err := c.names(tx, t, -1)
		if err != nil {
			return nil, err
		}
		out = append(out, names...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
