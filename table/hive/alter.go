package hive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	hms "github.com/beltran/gohive/hive_metastore"

	"headwater/internal/retry"
	"headwater/table"
)

// batch is how many partitions are in a call: few enough for the slowest metastore to be done with them in a fraction of hive.timeout.
const batch = 100

// mostCascaded is for how many partitions the metastore's own CASCADE is asked, which is all or nothing. It takes 20 ms for each, and all of it is one call.
const mostCascaded = 300

// alterTable gives the metastore the table if its version is still this one. Hive 4 compares by SQL, for which some databases have no
// way (Derby and Oracle compare no CLOB): then it is as Hive 2 and 3, which do not compare.
func (m *client) alterTable(ctx context.Context, t *hms.Table, version string, cascade bool) error {
	env := &hms.EnvironmentContext{Properties: map[string]string{"DO_NOT_UPDATE_STATS": "true", "CASCADE": strconv.FormatBool(cascade)}}
	if !m.cannotCompare {
		env.Properties["expected_parameter_key"], env.Properties["expected_parameter_value"] = versionKey, version
	}
	err := m.AlterTableWithEnvironmentContext(ctx, t.DbName, t.TableName, t, env)
	if no, is := errors.AsType[*hms.MetaException](err); is && !m.cannotCompare && strings.Contains(no.Message, `update "TABLE_PARAMS"`) {
		m.cannotCompare = true
		return m.alterTable(ctx, t, version, cascade)
	}
	return err
}

// alterPartitions replaces partitions of t; the statistics are ours.
func (m *client) alterPartitions(ctx context.Context, t *hms.Table, ps []*hms.Partition) error {
	env := &hms.EnvironmentContext{Properties: map[string]string{"DO_NOT_UPDATE_STATS": "true"}}
	return m.AlterPartitionsWithEnvironmentContext(ctx, t.DbName, t.TableName, ps, env)
}

// cascade gives the partitions the columns of the table, and takes the mark off that says that they lack them.
func (m *client) cascade(ctx context.Context, t *hms.Table) error {
	n := table.Name{Database: t.DbName, Table: t.TableName}
	names, err := m.GetPartitionNames(ctx, t.DbName, t.TableName, -1)
	if err != nil {
		return fmt.Errorf("listing the partitions of %s: %w", n, err)
	}
	for part := range slices.Chunk(names, batch) {
		if err := m.follow(ctx, t, part); err != nil {
			return fmt.Errorf("changing the columns of partitions of %s: %w", n, err)
		}
	}
	// It took a while, and not every metastore compares: what others did meanwhile must stay.
	now, err := get(ctx, m, n)
	version := t.Parameters[versionKey]
	if err != nil || now.Parameters[versionKey] != version {
		return err
	}
	delete(now.Parameters, behindKey)
	count, _ := strconv.Atoi(version)
	now.Parameters[versionKey] = strconv.Itoa(count + 1)
	return m.alterTable(ctx, now, version, false)
}

// follow gives some partitions the columns of their table.
func (m *client) follow(ctx context.Context, t *hms.Table, names []string) error {
	ps, err := m.GetPartitionsByNames(ctx, t.DbName, t.TableName, names)
	if err != nil {
		return err
	}
	ps = slices.DeleteFunc(ps, func(p *hms.Partition) bool {
		return len(p.Sd.Cols) == len(t.Sd.Cols) && unchanged(p.Sd.Cols, t.Sd.Cols) == len(t.Sd.Cols)
	})
	for _, p := range ps {
		p.Sd.Cols = t.Sd.Cols
	}
	if len(ps) == 0 {
		return nil
	}
	return m.alterPartitions(ctx, t, ps)
}

// tooLong explains the refusal of a column whose type, as a text, is longer than a metastore's database holds: those of Hive before 2.3 hold 4000 characters.
func tooLong(err error, cols []*hms.FieldSchema) error {
	if err == nil || len(cols) == 0 || !slices.ContainsFunc([]string{"TYPE_NAME", "too long", "too large", "truncation", "maximum length"}, func(sign string) bool {
		return strings.Contains(err.Error(), sign)
	}) {
		return err
	}
	widest := slices.MaxFunc(cols, func(a, b *hms.FieldSchema) int { return cmp.Compare(len(a.Type), len(b.Type)) })
	return retry.Stop(fmt.Errorf("column %s has a type of %d characters, the longest, and the metastore's database holds no text so long: bring its schema to that of Hive 2.3 or newer, "+
		"or have objects in the column kept as JSON text (schema.hints: {\"place.in.the.data\": string}): %w", widest.Name, len(widest.Type), err))
}
