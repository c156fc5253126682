package connector_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/internal/builtin"
	"headwater/internal/config"
	"headwater/internal/connector"
	"headwater/land"
)

var update = flag.Bool("update", false, "rewrite the expected texts in testdata")

// TestImport reads connectors as people have them: the report and the file are kept as text, and the file has no faults.
func TestImport(t *testing.T) {
	t.Setenv("KAFKA_BROKERS", "kafka-1:9092")
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(strings.TrimPrefix(string(data), "-- input --\n"), "-- report --\n")
			got, err := connector.Import([]byte(input), "")
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			for _, l := range got.Lines {
				fmt.Fprintf(&b, "%s %s%s: %s\n", l.Verdict, l.Key, map[bool]string{true: " (by default)"}[l.Default], l.Why)
				if (l.Verdict == land.Same) != (l.Why == "") && l.Verdict != land.Same {
					t.Errorf("%s is %s, and it does not say why", l.Key, l.Verdict)
				}
			}
			report := b.String() + "-- pipeline --\n" + string(got.Pipeline)
			if *update {
				if err := os.WriteFile(file, []byte("-- input --\n"+input+"-- report --\n"+report), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(want, report); diff != "" {
				t.Error(diff)
			}
			if _, err := config.Parse("pipeline.yaml", t.TempDir(), got.Pipeline, builtin.Sources()); err != nil {
				t.Errorf("the file has faults: %v\n%s", err, got.Pipeline)
			}
			for _, secret := range []string{"hunter2", "wJalr", "AKIA"} {
				if strings.Contains(report, secret) {
					t.Errorf("a secret is told: %s", secret)
				}
			}
		})
	}
}

func TestImportUnreadable(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "no keys",
		"# nothing\n":                           "no keys",
		"{}":                                    "no keys",
		`{"a":"1"`:                              "no JSON",
		`{"a":"1"} {}`:                          "more than one",
		`{"a":"1","a":"2"}`:                     "a twice",
		"a=1\na=2\n":                            "a twice",
		`{"a":{"b":1}}`:                         "an object or an array",
		`{"name":"x","config":{"a":"1"},"b":1}`: "no form of Connect's",
		`{"name":1,"config":{"a":"1"}}`:         "name is no text",
		"a=\\u12":                               `line 1: it ends within \u`,
		"b=1\na=\\uzzzz":                        `line 2: \uzzzz is no character`,
		"a=\xff":                                "not UTF-8",
	} {
		if got, err := connector.Import([]byte(text), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want something about %q", text, got, err, want)
		}
	}
	if _, err := connector.Import([]byte("name=a"), "My-Db"); err == nil || !strings.Contains(err.Error(), "lower case") {
		t.Errorf("got %v", err)
	}
}

// TestProperties: a properties file is read as Java reads it.
func TestProperties(t *testing.T) {
	text := "\ufeff! comment\r\ns3.wan.mode=FALSE\nbehavior.on.null.values=IGNORE\n  topics.dir : a\\u00e9\\ud83d\\ude00 \\\r\n   b\\=c\r\ns3.bucket.name=x\\:y\nempty\nflush.size=1\\\n\\\n0\nlast\\"
	got, err := connector.Import([]byte(text), "d")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n  topics.dir: \"a\u00e9\U0001f600 b=c\"\n", "\n  flush.size: 10\n", "\ndatabase: d\n", "\n  behavior.on.null.values: ignore\n"} {
		if !strings.Contains(string(got.Pipeline), want) {
			t.Errorf("it has no %q:\n%s", want, got.Pipeline)
		}
	}
	var keys []string
	for _, l := range got.Lines {
		if !l.Default {
			keys = append(keys, l.Key)
		}
	}
	if diff := cmp.Diff([]string{"s3.wan.mode", "behavior.on.null.values", "topics.dir", "s3.bucket.name", "empty", "flush.size", "last"}, keys); diff != "" {
		t.Error(diff)
	}
}

// FuzzImport: whatever is read, the file has no faults.
func FuzzImport(f *testing.F) {
	f.Add(`{"topics":"a,b","flush.size":"1","partitioner.class":"FieldPartitioner","partition.field.name":"a"}`)
	f.Add("topics.regex=a.*\npath.format='date'=YYYY-MM-dd\ntimestamp.extractor=RecordField\ntimestamp.field=ingestion_timestamp\ntimezone=UTC\npartitioner.class=TimeBasedPartitioner\nlocale=en\npartition.duration.ms=1")
	f.Add("topics=a\npath.format='date'=YYYY-MM-dd\ntimestamp.extractor=RecordField\ntimestamp.field=ingestion_timestamp\ntimezone=UTC\npartitioner.class=TimeBasedPartitioner\nlocale=en\npartition.duration.ms=1\ns3.bucket.name=abc\nstore.url=x:1\ns3.region=%&?#")
	f.Add("topics=a\nformat.class=JsonFormat\nflush.size=1\ns3.bucket.name=abc\ns3.ssea.name=aws:kms\ns3.sse.kms.key.id=a&b\ns3.acl.canned=private\ns3.object.tagging=true\ns3.object.tagging.key.value.pairs=a:b,,c:+")
	f.Add("topics=a\ntopics.dir=a\u007f\u0080\u0085\u2028\ufffe\uffff\U0001f600")
	f.Fuzz(func(t *testing.T, text string) {
		t.Setenv("KAFKA_BROKERS", "kafka-1:9092")
		got, err := connector.Import([]byte(text), "")
		if err != nil {
			return
		}
		if _, err := config.Parse("pipeline.yaml", "/tmp/x", got.Pipeline, builtin.Sources()); err != nil {
			t.Errorf("the file has faults: %v\n%s", err, got.Pipeline)
		}
	})
}
