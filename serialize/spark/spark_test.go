package spark

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/schema"
)

// decider notes what it is asked.
type decider struct {
	counts []Count
	left   []Record
	typ    schema.Type
	err    error
}

func (d *decider) Counted(c []Count) (Clean, error) {
	d.counts = c
	return Clean{URIs: []string{"file:///a"}}, d.err
}

func (d *decider) LeftOut(r Record) error {
	d.left = append(d.left, r)
	return nil
}

func (d *decider) Inferred(t schema.Type) (Plan, error) {
	d.typ = t
	return Plan{Read: t, Raw: t, Time: "t", Flat: []Column{{Name: "n", Path: []string{"raw_data", "n"}}}}, nil
}

// options are those of a command of sh that stands for spark-submit.
func options(t *testing.T, script string) Options {
	t.Helper()
	o := Options{Config: DefaultConfig(), Temp: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
	o.Config.Submit = filepath.Join(t.TempDir(), "submit")
	if err := os.WriteFile(o.Config.Submit, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return o
}

const (
	aSchema = `{"type":"struct","fields":[{"name":"n","type":"long","nullable":true,"metadata":{}}]}`
	whole   = `echo 'WARN something'
echo 'headwater {"counts":[{"uri":"file:/a","size":7,"what":"bad","records":2}]}'
read answer && echo "$answer" >"$OUT/clean"
echo 'headwater {"bad":{"uri":"file:/a","sha256":"ff"}}'
printf 'headwater {"progress":"stage 0: 1 of 2 tasks"}\nheadwater {"sche'
echo 'ma":` + aSchema + `}'
read answer && echo "$answer" >"$OUT/plan"
echo 'headwater {"made":{"raw":{"rows":2,"schema":` + aSchema + `,"files":["file:///t/x"]},"flat":{"rows":2,"schema":` + aSchema + `,"files":["file:///f/y"]}}}'
`
)

// TestConversation: what is said by either side arrives, and what Spark is told lies in files that nobody else can read and that are gone afterwards.
func TestConversation(t *testing.T) {
	out := t.TempDir()
	o := options(t, `OUT=`+out+`
for last; do :; done
cp "$last" "$OUT/request"
echo "$@" >"$OUT/args"
ls -l "$(dirname "$last")" >"$OUT/list"
cp "$(dirname "$last")/spark.properties" "$OUT/properties"
`+whole+"cat >/dev/null # until the input ends\nexit 1\n")
	o.Config.Conf["spark.hadoop.fs.s3a.secret.key"] = "se cret=\\"
	o.Config.Args = []string{"--packages", "a:b:1"}
	o.Properties = map[string]string{"spark.hadoop.fs.s3a.bucket.b.endpoint": "http://127.0.0.1:1", "spark.hadoop.fs.s3a.secret.key": "less"}
	var d decider
	got, err := Run(t.Context(), o, Request{Inputs: []string{"file:///a"}, From: 1, To: 2, Raw: "file:///t"}, &d)
	if err != nil {
		t.Fatal(err)
	}
	typ := schema.Type{Kind: schema.Struct, Fields: []schema.Field{{Name: "n", Type: schema.Type{Kind: schema.Long}}}}
	want := Result{Made{2, typ, []string{"file:///t/x"}}, Made{2, typ, []string{"file:///f/y"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(decider{counts: []Count{{"file:/a", 7, Bad, 2}}, left: []Record{{"file:/a", "ff"}}, typ: typ}, d, cmp.AllowUnexported(decider{})); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"clean": `{"clean":["file:///a"],"bare":false}`, "plan": `"flat":[{"name":"n","path":["raw_data","n"],"millis":false}]`, "request": `"inputs":["file:///a"],"from":1,"to":2`,
		"properties": `spark.hadoop.fs.s3a.secret.key=se\ cret\=\\` + "\n", "args": "--master local[*] --deploy-mode client", "list": "-rw-------",
	} {
		text, err := os.ReadFile(filepath.Join(out, name))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s is %s, %v", name, text, err)
		}
		if name == "args" && (strings.Contains(string(text), "cret") || !strings.Contains(string(text), "--packages a:b:1")) || name == "list" && strings.Contains(string(text), "r--") {
			t.Errorf("%s is %s", name, text)
		}
	}
	if left, err := os.ReadDir(o.Temp); len(left) > 0 || err != nil {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestFailures(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		says   string
		data   bool
	}{
		"the data":        {`echo 'headwater {"error":{"text":"[X] it is cut","data":true}}'; exit 1`, "Spark: [X] it is cut", true},
		"the cluster":     {`echo 'headwater {"error":{"text":"no master","data":false}}'; exit 1`, "Spark: no master", false},
		"a consequence":   {`echo '1 ERROR X: no master' >&2; echo 'headwater {"error":{"text":"it is stopped","data":false}}'; exit 1`, "it is stopped; its log says: X: no master", false},
		"before Python":   {"echo 'Exception in thread \"main\" org.X: bad' >&2; echo '	at a.b.C(Exception.java)' >&2; exit 3", `(exit status 3): Exception in thread "main" org.X: bad`, false},
		"in Python":       {"echo Traceback; echo 'ImportError: no pyspark'; exit 1", "ImportError: no pyspark", false},
		"without a word":  {"exit 0", "it has said nothing", false},
		"nonsense":        {`echo 'headwater {"counts":1}'; sleep 100`, "cannot have", false},
		"a type":          {`echo 'headwater {"schema":"date"}'; sleep 100`, `type "date"`, false},
		"made of a type":  {`echo 'headwater {"made":{"raw":{"schema":"date"}}}'; sleep 100`, `type "date"`, false},
		"a signal":        {"kill -9 $$", "signal: killed", false},
		"after the plan":  {strings.Replace(whole, `echo 'headwater {"made"`, `exit 7; '`, 1), "(exit status 7): WARN something", false},
		"with many words": {"yes ERR | head -c 100000; echo; echo last", "last", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Run(t.Context(), options(t, "OUT="+t.TempDir()+"\n"+test.script), Request{}, &decider{})
			failure, _ := errors.AsType[Failure](err)
			if err == nil || !strings.Contains(err.Error(), test.says) || failure.Data != test.data {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("of the decider", func(t *testing.T) {
		refused := errors.New("it is refused")
		if _, err := Run(t.Context(), options(t, "OUT="+t.TempDir()+"\n"+whole+"sleep 100"), Request{}, &decider{err: refused}); !errors.Is(err, refused) {
			t.Error(err)
		}
	})
	t.Run("no command", func(t *testing.T) {
		for _, submit := range []string{"no-such-spark-submit", filepath.Join(t.TempDir(), "none"), t.TempDir()} {
			o := options(t, "")
			o.Config.Submit = submit
			if _, err := Run(t.Context(), o, Request{}, &decider{}); err == nil || !strings.Contains(err.Error(), "serialize.spark.submit") || retry.Classify(err) != retry.Permanent {
				t.Error(err)
			}
		}
	})
}

// TestCancelled: with the context all ends that was started, also what does not hear.
func TestCancelled(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// The child holds the fifo open for writing as long as it lives, and has nothing to do with the output of its parent.
	o := options(t, fmt.Sprintf("(trap '' TERM; echo up; while :; do sleep 1; done) >%s 2>/dev/null </dev/null &\nexec sleep 1000\n", fifo))
	ctx, cancel := context.WithCancelCause(t.Context())
	why, ended := errors.New("the day is over"), make(chan error, 1)
	go func() {
		f, err := os.Open(fifo) // blocks until the child is there
		if err != nil {
			t.Error(err)
		}
		defer f.Close()
		b := make([]byte, 3)
		_, _ = f.Read(b)
		cancel(why)
		_, err = f.Read(b) // until the child is gone
		ended <- err
	}()
	if _, err := Run(ctx, o, Request{}, &decider{}); !errors.Is(err, why) {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the child goes on")
		}
	case <-time.After(time.Minute):
		t.Error("the child goes on")
	}
}

func TestConfig(t *testing.T) {
	c := DefaultConfig()
	if faults := c.Validate(); len(faults) > 0 {
		t.Error(faults)
	}
	c = Config{AutoAbove: -1, Conf: map[string]setting.Secret{"fs.s3a.endpoint": "x"}, Args: []string{"--deploy-mode", "--properties-file=x"}}
	var said []string
	for _, f := range c.Validate() {
		said = append(said, strings.Join(f.Path, "."))
	}
	if diff := cmp.Diff([]string{"submit", "master", "auto_above", "conf.fs.s3a.endpoint", "args", "args"}, said); diff != "" {
		t.Error(diff)
	}
	c = DefaultConfig()
	if got := string(c.properties(nil)); !strings.Contains(got, "spark.driver.bindAddress=127.0.0.1\n") {
		t.Errorf("a Spark on this machine listens at\n%s", got)
	}
	c.Master = "spark://m:7077"
	if got := string(c.properties(nil)); got != "" {
		t.Errorf("a cluster is told\n%s", got)
	}
}
