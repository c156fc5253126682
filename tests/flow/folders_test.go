package flow

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
)

// TestNoTables: with engine: none records land in folders that have no days, no tables are made, and who asks for them is told why.
func TestNoTables(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), `
database: db
sources: {orders: {file: {path: orders.csv}}}
land: {partitioner.class: FieldPartitioner, partition.field.name: [raw_data.country], filename.offset.zero.pad.width: 2}
serialize: {engine: none}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`)
	p.Write(t, "orders.csv", []byte("id,country\n1,DE\n2,FR\n3,\n4,DE\n"))
	p.Run(t, nil, "run", "--once").Must(t)
	var found []string
	err := filepath.WalkDir(filepath.Join(p.Dir, "headwater-data"), func(path string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".json.gz") || strings.HasSuffix(path, ".parquet") {
			found = append(found, filepath.Base(filepath.Dir(path))+"/"+d.Name())
		}
		return err
	})
	want := []string{
		"raw_data.country=DE/orders_raw+0+00.json.gz", "raw_data.country=FR/orders_raw+0+01.json.gz",
		"raw_data.country=__HIVE_DEFAULT_PARTITION__/orders_raw+0+02.json.gz",
	}
	if err != nil || !slices.Equal(found, want) {
		t.Errorf("there are %q, %v", found, err)
	}
	for _, command := range [][]string{{"serialize", "--source", "orders", "--date", "2026-07-05"}, {"serve"}} {
		if got := p.Run(t, nil, command[0], command[1:]...); got.Code != 2 || !strings.Contains(got.Stderr, "serialize.engine is none") {
			t.Errorf("%v ended with %d: %s", command, got.Code, got.Stderr)
		}
	}
	proc := p.Start(t, nil, "run")
	binary.Eventually(t, "it runs", func() bool { return statusOf(t, p).Listen.Kafka != "" })
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := proc.Wait(t, 3*time.Minute); got.Code != 0 {
		t.Errorf("run ended with %d: %s", got.Code, got.Stderr)
	}
	if check := p.Run(t, nil, "check").Must(t); !strings.Contains(check, "tables  none are made") {
		t.Errorf("check says %s", check)
	}
	if status := p.Run(t, nil, "status"); status.Code != 0 || !strings.Contains(status.Stdout, "orders") {
		t.Errorf("status ended with %d: %s%s", status.Code, status.Stdout, status.Stderr)
	}
}
