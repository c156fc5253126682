package lake

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRawKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		topicsDir, topic, path string
		partition              int32
		generation             int
		offset                 int64
		want                   string
	}{
		{"topics", "trades_raw", "date=2026-07-05", 0, 1, 0, "topics/trades_raw/date=2026-07-05/trades_raw+0+0000000000.json.gz"},
		{"", "trades_raw", "date=2026-07-05", 12, 1, 180000, "trades_raw/date=2026-07-05/trades_raw+12+0000180000.json.gz"},
		{"a/b", "x+1", "year=2026/month=07", 3, 1, 12345678901, "a/b/x+1/year=2026/month=07/x+1+3+12345678901.json.gz"},
		{"topics", "t", "", 0, 1, 7, "topics/t/t+0+0000000007.json.gz"},
		{"topics", "t", "date=2026-07-05", 0, 2, 7, "topics/t/date=2026-07-05/t+0+g2+0000000007.json.gz"},
		{"topics", "t+5+g2", "date=2026-07-05", 0, 11, 1<<63 - 1, "topics/t+5+g2/date=2026-07-05/t+5+g2+0+g11+9223372036854775807.json.gz"},
		{"topics", "t+5", "date=2026-07-05", 2147483647, 1, 1, "topics/t+5/date=2026-07-05/t+5+2147483647+0000000001.json.gz"},
	} {
		key := RawKeyGeneration(c.topicsDir, c.topic, c.path, c.partition, c.generation, c.offset)
		if key != c.want {
			t.Errorf("RawKeyGeneration(%+v) = %s", c, key)
		}
		if err := CheckKey(key); err != nil {
			t.Error(err)
		}
		got, err := ParseRawKey(key)
		want := RawName{Topic: c.topic, Path: c.path, Partition: c.partition, Generation: c.generation, Offset: c.offset}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("ParseRawKey(%s): %v (-want +got):\n%s", key, err, diff)
		}
	}
}

func TestParseRawKeyOfTheConnector(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]RawName{
		"topics/t/partition=12/t+12+00.json.gz": {Topic: "t", Path: "partition=12", Partition: 12, Generation: 1},
		"t/t+0+9.json.gz":                       {Topic: "t", Generation: 1, Offset: 9},
		"t/t/d/t+0+000000000000009.json.gz":     {Topic: "t", Path: "d", Generation: 1, Offset: 9},
	} {
		got, err := ParseRawKey(key)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("ParseRawKey(%s): %v (-want +got):\n%s", key, err, diff)
		}
	}
}

func TestParseRawKeyOfForeignFiles(t *testing.T) {
	t.Parallel()
	for _, key := range []string{
		"",
		"t+0+0000000000.json.gz",
		"topics/t/date=1/_SUCCESS",
		"topics/t/date=1/t+0+0000000000.json",
		"topics/t/date=1/t+0+0000000000.json.gz.bak",
		"topics/t/date=1/other+0+0000000000.json.gz",
		"topics/t/date=1/t+0000000000.json.gz",
		"topics/t/date=1/0000000000.json.gz",
		"topics/t/date=1/.json.gz",
		"topics/t/date=1/t++.json.gz",
		"topics/t/date=1/t+0+.json.gz",
		"topics/t/date=1/t++5.json.gz",
		"topics/t/date=1/+0+5.json.gz",
		"topics//date=1/+0+5.json.gz",
		"topics/t/date=1/t+-1+5.json.gz",
		"topics/t/date=1/t+0+-5.json.gz",
		"topics/t/date=1/t+00+5.json.gz",
		"topics/t/date=1/t+2147483648+5.json.gz",
		"topics/t/date=1/t+0+9223372036854775808.json.gz",
		"topics/t/date=1/t+0+g1+5.json.gz",
		"topics/t/date=1/t+0+g02+5.json.gz",
		"topics/t/date=1/t+0+g+5.json.gz",
		"topics/t/date=1/t+0+g2.json.gz",
		"topics/t/date=1/t+0+x5.json.gz",
		"topics/t/date=1/t+0+5 .json.gz",
	} {
		got, err := ParseRawKey(key)
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("ParseRawKey(%q) = %+v, %v, want an error that names it", key, got, err)
		}
	}
}

func FuzzParseRawKey(f *testing.F) {
	f.Add("topics/t/date=2026-07-05/t+0+0000000000.json.gz")
	f.Add("t+1/t+1+0+g2+5.json.gz")
	f.Fuzz(func(t *testing.T, key string) {
		n, err := ParseRawKey(key)
		if err != nil {
			return
		}
		canonical := RawKeyGeneration("x", n.Topic, n.Path, n.Partition, n.Generation, n.Offset)
		again, err := ParseRawKey(canonical)
		if diff := cmp.Diff(n, again); diff != "" || err != nil {
			t.Errorf("%q reads as %+v, its canonical form %q otherwise: %v\n%s", key, n, canonical, err, diff)
		}
	})
}
