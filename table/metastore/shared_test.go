package metastore

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	hms "github.com/beltran/gohive/hive_metastore"

	"headwater/tests/interop/fixture"
)

// swap counts the table's parameter n up by compare-and-swap, for as often as it takes.
func swap(ctx context.Context, c *hms.ThriftHiveMetastoreClient) error {
	for {
		tbl, err := c.GetTable(ctx, "default", "days")
		if err != nil {
			return err
		}
		is := tbl.Parameters["n"]
		n, _ := strconv.Atoi(is)
		tbl.Parameters["n"] = strconv.Itoa(n + 1)
		err = c.AlterTableWithEnvironmentContext(ctx, "default", "days", tbl, &hms.EnvironmentContext{Properties: map[string]string{
			"expected_parameter_key": "n", "expected_parameter_value": is,
		}})
		if err == nil || !strings.Contains(err.Error(), "has been modified") {
			return err
		}
	}
}

// race has two clients of each metastore change one table: no change is lost, and of each partition one client has added it.
func race(t *testing.T, ms ...*Metastore) {
	t.Helper()
	c, ctx := client(t, ms[0]), t.Context()
	must(t, c.CreateTable(ctx, days("days")))
	const changes = 20
	var wg sync.WaitGroup
	added := make([]int, 2*len(ms))
	for i := range added {
		c := client(t, ms[i%len(ms)])
		wg.Go(func() {
			for n := range changes {
				if err := swap(ctx, c); err != nil {
					t.Error(err)
				}
				ps, err := c.AddPartitionsReq(ctx, &hms.AddPartitionsRequest{DbName: "default", TblName: "days", Parts: []*hms.Partition{part(strconv.Itoa(n), "eu")}, IfNotExists: true, NeedResult_: true})
				if err != nil {
					t.Error(err)
					return
				}
				added[i] += len(ps.Partitions)
			}
		})
	}
	wg.Wait()
	tbl, err := c.GetTable(ctx, "default", "days")
	must(t, err)
	sum := 0
	for _, n := range added {
		sum += n
	}
	if tbl.Parameters["n"] != strconv.Itoa(changes*len(added)) || sum != changes {
		t.Errorf("%s changes of %d, %d partitions added", tbl.Parameters["n"], changes*len(added), sum)
	}
}

func testRacing(t *testing.T, in place) { race(t, open(t, in(t), io.Discard)) }

// testProcesses: two metastores that start at once in one database are one.
func testProcesses(t *testing.T, in place) {
	cfg := in(t)
	ms := make([]*Metastore, 2)
	var wg sync.WaitGroup
	for i := range ms {
		wg.Go(func() { ms[i] = open(t, cfg, io.Discard) })
	}
	wg.Wait()
	race(t, ms...)

	// A lock that one has granted keeps the other from granting it.
	a, b, ctx := client(t, ms[0]), client(t, ms[1]), t.Context()
	held, err := a.Lock(ctx, wholeTable("days", hms.LockType_EXCLUSIVE))
	must(t, err)
	waiting, err := b.Lock(ctx, wholeTable("days", hms.LockType_EXCLUSIVE))
	if must(t, err); held.State != hms.LockState_ACQUIRED || waiting.State != hms.LockState_WAITING {
		t.Errorf("%v, %v", held, waiting)
	}
	must(t, b.Unlock(ctx, &hms.UnlockRequest{Lockid: held.Lockid}))
	if got, err := b.CheckLock(ctx, &hms.CheckLockRequest{Lockid: waiting.Lockid}); err != nil || got.State != hms.LockState_ACQUIRED {
		t.Errorf("%v, %v", got, err)
	}
}

// testKilled: a database that is killed and started again costs the calls of the time between.
func testKilled(t *testing.T, in place, server *fixture.PostgreSQL) {
	m := open(t, in(t), io.Discard)
	c, ctx := client(t, m), t.Context()
	must(t, c.CreateTable(ctx, days("days")))
	server.Kill()
	_, err := c.GetTable(ctx, "default", "days")
	want[*hms.MetaException](t, "no database", err)
	want[*hms.MetaException](t, "no database", c.CreateTable(ctx, days("other")))
	server.Start()
	if _, err := c.GetTable(ctx, "default", "days"); err != nil {
		t.Error(err)
	}
	must(t, c.CreateTable(ctx, days("other")))
}

// testRestart: all that was said is there when the process is another.
func testRestart(t *testing.T, in place) {
	cfg := in(t)
	m, ctx := open(t, cfg, io.Discard), t.Context()
	c := client(t, m)
	must(t, c.CreateTable(ctx, days("days")))
	_, err := c.AddPartition(ctx, part("2026", "eu"))
	must(t, err)
	held, err := c.Lock(ctx, wholeTable("days", hms.LockType_EXCLUSIVE))
	must(t, err)
	must(t, m.Close())

	c = client(t, open(t, cfg, io.Discard))
	if p, err := c.GetPartition(ctx, "default", "days", []string{"2026", "eu"}); err != nil || p.Sd.Cols[0].Name != "id" {
		t.Errorf("%v, %v", p, err)
	}
	if got, err := c.CheckLock(ctx, &hms.CheckLockRequest{Lockid: held.Lockid}); err != nil || got.State != hms.LockState_ACQUIRED {
		t.Errorf("%v, %v", got, err)
	}
}

// TestOldFile: the file of a version that kept the columns in each partition is taken over.
func TestOldFile(t *testing.T) {
	cfg, ctx := inFile(t), t.Context()
	m := open(t, cfg, io.Discard)
	c := client(t, m)
	must(t, c.CreateTable(ctx, days("days")))
	_, err := c.AddPartition(ctx, part("2026", "eu"))
	must(t, err)
	p, err := c.GetPartition(ctx, "default", "days", []string{"2026", "eu"})
	must(t, err)
	must(t, m.objects.do(ctx, func(tx transaction) error {
		data, err := tx.encode(p)
		must(t, err)
		for _, statement := range []string{`DROP TABLE hive_columns`, `DROP TABLE hive_locks`, `ALTER TABLE hive_partitions DROP COLUMN columns`, `DELETE FROM headwater_versions`} {
			if _, err := tx.exec(statement); err != nil {
				return err
			}
		}
		_, err = tx.exec(`UPDATE hive_partitions SET object = ?`, data)
		return err
	}))
	must(t, m.Close())

	c = client(t, open(t, cfg, io.Discard))
	if p, err := c.GetPartition(ctx, "default", "days", []string{"2026", "eu"}); err != nil || len(p.Sd.Cols) != 1 {
		t.Fatalf("%v, %v", p, err)
	}
	tbl, err := c.GetTable(ctx, "default", "days")
	must(t, err)
	tbl.Sd.Cols = append(tbl.Sd.Cols, &hms.FieldSchema{Name: "more", Type: "string"})
	must(t, c.AlterTableWithCascade(ctx, "default", "days", tbl, true))
	if p, err := c.GetPartition(ctx, "default", "days", []string{"2026", "eu"}); err != nil || len(p.Sd.Cols) != 2 {
		t.Errorf("%v, %v", p, err)
	}
}

func wholeTable(name string, kind hms.LockType) *hms.LockRequest {
	r := hms.NewLockRequest()
	r.Component = []*hms.LockComponent{{Type: kind, Level: hms.LockLevel_TABLE, Dbname: "default", Tablename: &name}}
	r.User, r.Hostname = "ann", "here"
	return r
}

func wholeDatabase(kind hms.LockType) *hms.LockRequest {
	r := wholeTable("", kind)
	r.Component[0].Level, r.Component[0].Tablename = hms.LockLevel_DB, nil
	return r
}

func testLocks(t *testing.T, in place) {
	m := open(t, in(t), io.Discard)
	c, ctx := client(t, m), t.Context()
	lock := func(r *hms.LockRequest) int64 {
		t.Helper()
		got, err := c.Lock(ctx, r)
		must(t, err)
		return got.Lockid
	}
	state := func(id int64) hms.LockState {
		t.Helper()
		got, err := c.CheckLock(ctx, &hms.CheckLockRequest{Lockid: id})
		must(t, err)
		return got.State
	}
	release := func(ids ...int64) {
		t.Helper()
		for _, id := range ids {
			must(t, c.Unlock(ctx, &hms.UnlockRequest{Lockid: id}))
		}
	}
	const read, write, alone = hms.LockType_SHARED_READ, hms.LockType_SHARED_WRITE, hms.LockType_EXCLUSIVE
	eu, us := wholeTable("t", alone), wholeTable("t", alone)
	eu.Component[0].Partitionname, us.Component[0].Partitionname = new("region=eu"), new("region=us")
	both := wholeTable("t", read)
	both.Component = append(both.Component, wholeTable("u", alone).Component...)
	for what, c := range map[string]struct {
		first, second *hms.LockRequest
		shared        bool
	}{
		"readers":                            {wholeTable("t", read), wholeTable("t", read), true},
		"a reader and a writer":              {wholeTable("t", read), wholeTable("t", write), true},
		"writers":                            {wholeTable("t", write), wholeTable("T", write), false},
		"a reader, then one alone":           {wholeTable("t", read), wholeTable("t", alone), false},
		"one alone, then a reader":           {wholeTable("t", alone), wholeTable("t", read), false},
		"two alone":                          {wholeTable("t", alone), wholeTable("t", alone), false},
		"two tables":                         {wholeTable("t", alone), wholeTable("u", alone), true},
		"two partitions":                     {eu, us, true},
		"a partition and its table":          {eu, wholeTable("t", read), false},
		"a database's reader":                {wholeDatabase(read), wholeTable("t", alone), true},
		"a database's, alone":                {wholeDatabase(alone), wholeTable("t", read), false},
		"one of two components":              {wholeTable("u", write), both, false},
		"a writer of another's only written": {wholeTable("u", write), wholeTable("t", write), true},
	} {
		first, second := lock(c.first), lock(c.second)
		if got := state(second); state(first) != hms.LockState_ACQUIRED || (got == hms.LockState_ACQUIRED) != c.shared {
			t.Errorf("%s: the second is %v", what, got)
		}
		release(first)
		if got := state(second); got != hms.LockState_ACQUIRED {
			t.Errorf("%s: the first is gone, and the second is %v", what, got)
		}
		release(second)
	}

	// Who waits is served in turn: a reader that comes after one that wants to be alone waits for it.
	reader, writer := lock(wholeTable("t", read)), lock(wholeTable("t", alone))
	late := lock(wholeTable("t", read))
	if state(late) != hms.LockState_WAITING || state(writer) != hms.LockState_WAITING {
		t.Errorf("%v, %v", state(late), state(writer))
	}
	shown, err := c.ShowLocks(ctx, &hms.ShowLocksRequest{Dbname: new("Default"), Tablename: new("t")})
	if must(t, err); len(shown.Locks) != 3 || shown.Locks[0].State != hms.LockState_ACQUIRED || shown.Locks[0].Acquiredat == nil || shown.Locks[1].State != hms.LockState_WAITING || shown.Locks[1].User != "ann" {
		t.Errorf("%v", shown)
	}
	if shown, err = c.ShowLocks(ctx, &hms.ShowLocksRequest{Tablename: new("u")}); err != nil || len(shown.Locks) != 0 {
		t.Errorf("%v, %v", shown, err)
	}
	release(reader, late)
	if state(writer) != hms.LockState_ACQUIRED {
		t.Error("the writer waits for nobody")
	}

	// A lock that is not kept alive makes way.
	age := func(ids ...int64) {
		t.Helper()
		must(t, m.objects.do(ctx, func(tx transaction) error {
			for _, id := range ids {
				if _, err := tx.exec(`UPDATE hive_locks SET heartbeat = heartbeat - ? WHERE id = ?`, int64(lockTimeout)-30, id); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	next := lock(wholeTable("t", alone))
	age(writer)
	must(t, c.Heartbeat(ctx, &hms.HeartbeatRequest{Lockid: &writer}))
	age(writer)
	if state(next) != hms.LockState_WAITING {
		t.Error("a lock with a heartbeat has expired")
	}
	age(writer)
	if state(next) != hms.LockState_ACQUIRED {
		t.Error("a lock without a heartbeat has not expired")
	}
	want[*hms.NoSuchLockException](t, "expired", c.Heartbeat(ctx, &hms.HeartbeatRequest{Lockid: &writer}))
	release(next)
	want[*hms.NoSuchLockException](t, "released", c.Unlock(ctx, &hms.UnlockRequest{Lockid: next}))
	_, err = c.CheckLock(ctx, &hms.CheckLockRequest{Lockid: next})
	want[*hms.NoSuchLockException](t, "released", err)
	inTransaction := wholeTable("t", alone)
	inTransaction.Txnid = new(int64(7))
	_, err = c.Lock(ctx, inTransaction)
	want[*hms.NoSuchTxnException](t, "in a transaction", err)
	if now := lock(wholeTable("t", alone)); now <= next {
		t.Errorf("lock %d after %d", now, next)
	}
}

func testStatistics(t *testing.T, in place) {
	c, ctx := client(t, open(t, in(t), io.Discard)), t.Context()
	must(t, c.CreateTable(ctx, days("days")))
	for _, region := range []string{"eu", "us"} {
		_, err := c.AddPartition(ctx, part("2026", region))
		must(t, err)
	}
	set := func(partition *string, nulls int64) error {
		d := &hms.ColumnStatisticsDesc{IsTblLevel: partition == nil, DbName: "Default", TableName: "days", PartName: partition}
		o := &hms.ColumnStatisticsObj{ColName: "Id", ColType: "bigint", StatsData: &hms.ColumnStatisticsData{LongStats: &hms.LongColumnStatsData{NumNulls: nulls}}}
		_, err := c.UpdateTableColumnStatistics(ctx, &hms.ColumnStatistics{StatsDesc: d, StatsObj: []*hms.ColumnStatisticsObj{o}})
		return err
	}
	_, err := c.AppendPartition(ctx, "default", "days", []string{"2026", "aa"})
	must(t, err)
	_, err = c.AppendPartition(ctx, "default", "days", []string{"2026", "Zz"})
	must(t, err)
	if names, err := c.GetPartitionNames(ctx, "default", "days", 2); err != nil || !slices.Equal(names, []string{"year=2026/region=Zz", "year=2026/region=aa"}) { // the order of bytes
		t.Errorf("%v, %v", names, err)
	}
	must(t, set(nil, 1))
	must(t, set(nil, 2))
	must(t, set(new("year=2026/region=eu"), 3))
	want[*hms.NoSuchObjectException](t, "no partition", set(new("year=2026/region=x"), 3))
	nulls := func(partition string) string {
		r := &hms.PartitionsStatsRequest{DbName: "default", TblName: "days", ColNames: []string{"id", "none"}, PartNames: []string{partition}}
		got, err := c.GetPartitionsStatisticsReq(ctx, r)
		must(t, err)
		var out strings.Builder
		for name, all := range got.PartStats {
			for _, o := range all {
				out.WriteString(fmt.Sprint(name, " ", o.ColName, " ", o.StatsData.LongStats.NumNulls))
			}
		}
		return out.String()
	}
	if got, err := c.GetTableStatisticsReq(ctx, &hms.TableStatsRequest{DbName: "default", TblName: "days", ColNames: []string{"id"}}); err != nil || len(got.TableStats) != 1 || got.TableStats[0].StatsData.LongStats.NumNulls != 2 {
		t.Errorf("%v, %v", got, err)
	}
	if got := nulls("year=2026/region=eu"); got != "year=2026/region=eu Id 3" {
		t.Error(got)
	}
	must(t, c.RenamePartition(ctx, "default", "days", []string{"2026", "eu"}, part("2026", "EU")))
	if got := nulls("year=2026/region=eu") + nulls("year=2026/region=EU"); got != "year=2026/region=EU Id 3" {
		t.Error(got)
	}
	tbl, err := c.GetTable(ctx, "default", "days")
	must(t, err)
	tbl.TableName = "dates"
	must(t, c.AlterTable(ctx, "default", "days", tbl))
	if got, err := c.GetPartitionColumnStatistics(ctx, "default", "dates", "year=2026/region=EU", "id"); err != nil || got.StatsObj[0].StatsData.LongStats.NumNulls != 3 {
		t.Errorf("%v, %v", got, err)
	}
	_, err = c.DropPartition(ctx, "default", "dates", []string{"2026", "EU"}, false)
	must(t, err)
	_, err = c.AppendPartition(ctx, "default", "dates", []string{"2026", "EU"})
	must(t, err)
	_, err = c.GetPartitionColumnStatistics(ctx, "default", "dates", "year=2026/region=EU", "id")
	want[*hms.NoSuchObjectException](t, "of a partition that was dropped", err)
	_, err = c.DeleteTableColumnStatistics(ctx, "default", "dates", "id", "hive")
	must(t, err)
	_, err = c.GetTableColumnStatistics(ctx, "default", "dates", "id")
	want[*hms.NoSuchObjectException](t, "deleted", err)
}

// TestRename: a table goes to another database with all it has, and no managed one goes where its files are not.
func TestRename(t *testing.T) {
	c, ctx := client(t, serve(t, io.Discard)), t.Context()
	must(t, c.CreateTable(ctx, days("days")))
	must(t, c.CreateDatabase(ctx, &hms.Database{Name: "shop"}))
	_, err := c.AddPartition(ctx, part("2026", "eu"))
	must(t, err)
	tbl, err := c.GetTable(ctx, "default", "days")
	must(t, err)
	tbl.DbName = "nowhere"
	want[*hms.InvalidOperationException](t, "no database", c.AlterTable(ctx, "default", "days", tbl))
	tbl.DbName = "shop"
	must(t, c.AlterTable(ctx, "default", "days", tbl))
	if p, err := c.GetPartition(ctx, "shop", "days", []string{"2026", "eu"}); err != nil || p.DbName != "shop" || p.Sd.Location != "file:///srv/tables/days/year=2026/region=eu" || len(p.Sd.Cols) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if names, err := c.GetAllTables(ctx, "default"); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}

	managed := days("managed")
	managed.TableType, managed.PartitionKeys = "MANAGED_TABLE", nil
	managed.Sd.SerdeInfo.Parameters = map[string]string{"path": "file:///srv/tables/managed"}
	must(t, c.CreateTable(ctx, managed))
	managed.TableName = "renamed"
	must(t, c.AlterTable(ctx, "default", "managed", managed)) // its files stay, and so does its location
	managed.TableName, managed.Sd.SerdeInfo.Parameters = "again", map[string]string{"path": "file:///srv/tables/again"}
	if err = c.AlterTable(ctx, "default", "renamed", managed); err == nil || !strings.Contains(err.Error(), "make it external first") {
		t.Error(err)
	}
}

// TestTextExpressions: an expression that is the text of a filter is one.
func TestTextExpressions(t *testing.T) {
	c, ctx := client(t, serve(t, io.Discard)), t.Context()
	must(t, c.CreateTable(ctx, days("days")))
	for _, year := range []string{"2024", "2025", "2026"} {
		_, err := c.AddPartition(ctx, part(year, "eu"))
		must(t, err)
	}
	got, err := c.GetPartitionsByExpr(ctx, &hms.PartitionsByExprRequest{DbName: "default", TblName: "days", Expr: []byte(`year > 2024`), MaxParts: -1})
	if must(t, err); len(got.Partitions) != 2 || got.HasUnknownPartitions {
		t.Errorf("%v", got)
	}
	names, err := c.GetPartitionNamesReq(ctx, &hms.PartitionsByExprRequest{DbName: "default", TblName: "days", Expr: []byte(`year < 2026`), MaxParts: -1})
	if err != nil || !slices.Equal(names, []string{"year=2024/region=eu", "year=2025/region=eu"}) {
		t.Errorf("%v, %v", names, err)
	}
	drop := func(expr string) error {
		spec := hms.NewRequestPartsSpec()
		spec.Exprs = []*hms.DropPartitionsExpr{{Expr: []byte(expr)}}
		_, err := c.DropPartitionsReq(ctx, &hms.DropPartitionsRequest{DbName: "default", TblName: "days", Parts: spec})
		return err
	}
	want[*hms.MetaException](t, "a Java object", drop("\x01\x00org.apache.hadoop.hive.ql.plan.ExprNodeGenericFuncDesc"))
	must(t, drop(`year <= 2025`))
	if names, err := c.GetPartitionNames(ctx, "default", "days", -1); err != nil || !slices.Equal(names, []string{"year=2026/region=eu"}) {
		t.Errorf("%v, %v", names, err)
	}
}

func TestTablesByFilter(t *testing.T) {
	c, ctx := client(t, serve(t, io.Discard)), t.Context()
	for name, kind := range map[string]string{"a": "ICEBERG", "b": "", "c": "ICEBERG"} {
		tbl := days(name)
		tbl.Owner, tbl.Parameters = name, map[string]string{"table_type": kind}
		must(t, c.CreateTable(ctx, tbl))
	}
	for filter, expected := range map[string][]string{
		`hive_filter_field_params__table_type = "ICEBERG"`:                                          {"a", "c"},
		`hive_filter_field_params__table_type like "ICE.*" and not hive_filter_field_owner__ = "a"`: {"c"},
		`hive_filter_field_params__none = "x"`:                                                      {},
	} {
		if got, err := c.GetTableNamesByFilter(ctx, "default", filter, -1); err != nil || !slices.Equal(got, expected) {
			t.Errorf("%s: %v, %v", filter, got, err)
		}
	}
	_, err := c.GetTableNamesByFilter(ctx, "default", `x = 1`, -1)
	want[*hms.MetaException](t, "no property", err)
}

// TestSnapshot: a call that reads does not see half of one that writes, and does not wait for it.
func TestSnapshot(t *testing.T) {
	m, ctx := serve(t, io.Discard), t.Context()
	c := client(t, m)
	must(t, c.CreateTable(ctx, days("days")))
	must(t, m.objects.do(ctx, func(tx transaction) error {
		if _, err := tx.exec(`DELETE FROM hive_tables`); err != nil {
			return err
		}
		_, err := c.GetTable(ctx, "default", "days")
		must(t, err)
		return nil
	}))
	_, err := c.GetTable(ctx, "default", "days")
	want[*hms.NoSuchObjectException](t, "it is deleted", err)
	must(t, m.objects.look(ctx, func(tx transaction) error {
		var n int
		return tx.each(`SELECT 1`, nil, func(scan scanner) error { return scan(&n) })
	}))
}
