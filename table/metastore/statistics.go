package metastore

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	hms "github.com/beltran/gohive/hive_metastore"
)

// Column statistics are kept as they come: those of a table under the empty name of a partition. No numbers of several partitions are
// made into one: an optimizer that gets none for a table asks for those of its partitions, or does without.

// statistics are those of the columns, or of all if there are none, of the table and partition.
func (t transaction) statistics(tbl *hms.Table, partition string, columns []string) ([]*hms.ColumnStatisticsObj, error) {
	out := []*hms.ColumnStatisticsObj{}
	err := t.each(`SELECT name, object FROM hive_statistics WHERE database = ? AND "table" = ? AND partition = ? ORDER BY name`,
		[]any{tbl.DbName, tbl.TableName, partition}, func(scan scanner) error {
			var name string
			var data sql.RawBytes
			if err := scan(&name, &data); err != nil {
				return meta("%v", err)
			}
			if len(columns) > 0 && !slices.ContainsFunc(columns, func(c string) bool { return strings.EqualFold(c, name) }) {
				return nil
			}
			o := hms.NewColumnStatisticsObj()
			err := t.decode(o, data)
			out = append(out, o)
			return err
		})
	return out, err
}

func (t transaction) setStatistics(tbl *hms.Table, partition string, all []*hms.ColumnStatisticsObj) error {
	for _, o := range all {
		data, err := t.encode(o)
		if err != nil {
			return err
		}
		_, err = t.exec(`INSERT INTO hive_statistics (database, "table", partition, name, object) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (database, "table", partition, name) DO UPDATE SET object = excluded.object`, tbl.DbName, tbl.TableName, partition, strings.ToLower(o.ColName), data)
		if err != nil {
			return err
		}
	}
	return nil
}

// inPartition does f with the table and the name of its partition as it is kept; the partition must be there. An empty name is the table itself.
func inPartition(tx transaction, t *hms.Table, name string, f func(partition string) error) error {
	if name == "" {
		return f("")
	}
	_, values, err := parsePartitionName(name)
	if err != nil || len(values) != len(t.PartitionKeys) {
		return meta("%q is not the name of a partition of %s.%s", name, t.DbName, t.TableName)
	}
	name = partitionName(t, values)
	p, err := tx.partition(t, name)
	if err != nil {
		return err
	}
	if p == nil {
		return missing("Partition for which stats is gathered doesn't exist: %s of %s.%s", name, t.DbName, t.TableName)
	}
	return f(name)
}

// updateStatistics sets all or none.
func (s *service) updateStatistics(ctx context.Context, all ...*hms.ColumnStatistics) (bool, error) {
	err := s.objects.do(ctx, func(tx transaction) error {
		for _, c := range all {
			d := c.StatsDesc
			if d == nil {
				return meta("the statistics say not what they are of")
			}
			t, err := tx.table(normal(d.DbName), normal(d.TableName))
			if err != nil {
				return err
			}
			if err := inPartition(tx, t, d.GetPartName(), func(p string) error { return tx.setStatistics(t, p, c.StatsObj) }); err != nil {
				return err
			}
		}
		return nil
	})
	return err == nil, err
}

func (s *service) UpdateTableColumnStatistics(ctx context.Context, c *hms.ColumnStatistics) (bool, error) {
	return s.updateStatistics(ctx, c)
}

func (s *service) UpdatePartitionColumnStatistics(ctx context.Context, c *hms.ColumnStatistics) (bool, error) {
	return s.updateStatistics(ctx, c)
}

func (s *service) SetAggrStatsFor(ctx context.Context, r *hms.SetPartitionsStatsRequest) (bool, error) {
	return s.updateStatistics(ctx, r.ColStats...)
}

func (s *service) UpdateTableColumnStatisticsReq(ctx context.Context, r *hms.SetPartitionsStatsRequest) (*hms.SetPartitionsStatsResponse, error) {
	ok, err := s.updateStatistics(ctx, r.ColStats...)
	return &hms.SetPartitionsStatsResponse{Result_: ok}, err
}

func (s *service) UpdatePartitionColumnStatisticsReq(ctx context.Context, r *hms.SetPartitionsStatsRequest) (*hms.SetPartitionsStatsResponse, error) {
	return s.UpdateTableColumnStatisticsReq(ctx, r)
}

func (s *service) GetTableColumnStatistics(ctx context.Context, database, table, column string) (*hms.ColumnStatistics, error) {
	return s.columnStatistics(ctx, database, table, "", column)
}

func (s *service) GetPartitionColumnStatistics(ctx context.Context, database, table, partition, column string) (*hms.ColumnStatistics, error) {
	return s.columnStatistics(ctx, database, table, partition, column)
}

func (s *service) columnStatistics(ctx context.Context, database, table, partition, column string) (out *hms.ColumnStatistics, err error) {
	err = s.ofTable(ctx, database, table, func(tx transaction, t *hms.Table) error {
		return inPartition(tx, t, partition, func(p string) error {
			found, err := tx.statistics(t, p, []string{column})
			if err == nil && len(found) == 0 {
				err = missing("Statistics for db=%s table=%s partition=%s column=%s don't exist", database, table, partition, column)
			}
			d := &hms.ColumnStatisticsDesc{IsTblLevel: p == "", DbName: t.DbName, TableName: t.TableName}
			if p != "" {
				d.PartName = &p
			}
			out = &hms.ColumnStatistics{StatsDesc: d, StatsObj: found}
			return err
		})
	})
	return out, err
}

func (s *service) GetTableStatisticsReq(ctx context.Context, r *hms.TableStatsRequest) (*hms.TableStatsResult_, error) {
	out := &hms.TableStatsResult_{}
	err := s.ofTable(ctx, r.GetDbName(), r.GetTblName(), func(tx transaction, t *hms.Table) (err error) {
		out.TableStats, err = tx.statistics(t, "", r.GetColNames())
		return err
	})
	return out, err
}

// GetPartitionsStatisticsReq leaves out the partitions that have none.
func (s *service) GetPartitionsStatisticsReq(ctx context.Context, r *hms.PartitionsStatsRequest) (*hms.PartitionsStatsResult_, error) {
	out := &hms.PartitionsStatsResult_{PartStats: map[string][]*hms.ColumnStatisticsObj{}}
	err := s.ofTable(ctx, r.GetDbName(), r.GetTblName(), func(tx transaction, t *hms.Table) error {
		for _, name := range r.GetPartNames() {
			found, err := tx.statistics(t, name, r.GetColNames())
			if err != nil {
				return err
			}
			if len(found) > 0 {
				out.PartStats[name] = found
			}
		}
		return nil
	})
	return out, err
}

func (s *service) GetAggrStatsFor(context.Context, *hms.PartitionsStatsRequest) (*hms.AggrStats, error) {
	return &hms.AggrStats{ColStats: []*hms.ColumnStatisticsObj{}}, nil
}

func (s *service) DeleteTableColumnStatistics(ctx context.Context, database, table, column, _ string) (bool, error) {
	return s.deleteStatistics(ctx, database, table, "", column)
}

func (s *service) DeletePartitionColumnStatistics(ctx context.Context, database, table, partition, column, _ string) (bool, error) {
	return s.deleteStatistics(ctx, database, table, partition, column)
}

// deleteStatistics deletes those of all columns if none is named.
func (s *service) deleteStatistics(ctx context.Context, database, table, partition, column string) (bool, error) {
	err := s.inTable(ctx, database, table, func(tx transaction, t *hms.Table) error {
		return inPartition(tx, t, partition, func(p string) error {
			n, err := tx.exec(`DELETE FROM hive_statistics WHERE database = ? AND "table" = ? AND partition = ? AND (name = ? OR CAST(? AS TEXT) = '')`,
				t.DbName, t.TableName, p, strings.ToLower(column), column)
			if err == nil && n == 0 && column != "" {
				err = missing("Statistics for db=%s table=%s partition=%s column=%s don't exist", database, table, partition, column)
			}
			return err
		})
	})
	return err == nil, err
}
