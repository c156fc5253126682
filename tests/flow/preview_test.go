package flow

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
)

// TestPreview looks at sources of each kind, well and badly filled, beside the process that collects them, which must not notice.
func TestPreview(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), `
database: db
sources:
  orders: {file: {path: "in/orders/*", every: 50ms, settle: 50ms}, topic: {partitions: 9, replication: 3}, tables: {flat: facts}}
  bad: {file: {path: "in/bad/*"}}
  none: {file: {path: "in/none/*"}}
  gone: {file: {path: "in/gone/*", after: delete, settle: 10ms}}
  hooks: {push: {token: sesame}}
  theirs: {external: {topic: t}}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0"}
land: {rotate.schedule.interval.ms: 200}
serialize: {every: 200ms}
`)
	temp := t.TempDir()
	env := []string{"TMPDIR=" + temp}
	p.Write(t, "in/orders/a.csv", []byte("id,\x1b[31mname\n1,x\n2,\"a\nb\"\n3,z\n"))
	p.Write(t, "in/bad/a.ndjson", []byte("{\"a\":\n"))

	p.Write(t, "in/none/.hidden", nil)
	out := p.Run(t, env, "preview", "orders", "--items", "2").Must(t)
	for _, want := range []string{
		"item 1 of in/orders/a.csv#0, " + p.Dir + "/in/orders/a.csv 13\n", `{"id":"1","\u001b[31mname":"x"}`, `a\nb`, "these are the first 2",
		"db.facts would have the columns", "_ingested_at  ", "(2 rows)",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "z") || strings.Contains(out, "\x1b") {
		t.Errorf("it says too much:\n%s", out)
	}
	if _, err := os.Stat(filepath.Join(p.Dir, "headwater-data")); !os.IsNotExist(err) {
		t.Errorf("a preview leaves a data folder: %v", err)
	}
	r := p.Run(t, env, "preview", "bad")
	if out := r.Must(t); !strings.Contains(out, "malformed: ") || !strings.Contains(out, "(0 rows)") || !strings.Contains(r.Stderr, "records are not in the tables") {
		t.Errorf("of a bad item it says\n%s%s", out, r.Stderr)
	}
	if out := p.Run(t, env, "preview", "none", "--wait", "10ms").Must(t); !strings.Contains(out, "source none has no item") {
		t.Errorf("of nothing it says\n%s", out)
	}
	p.Write(t, "in/gone/a.ndjson", []byte("{\"n\":1}\n"))
	// They do not wait to delete what they must not delete.
	p.Run(t, env, "preview", "gone", "--wait", "1h").Must(t)
	p.Run(t, env, "check", "--live", "--wait", "1h").Must(t)
	if _, err := os.Stat(filepath.Join(p.Dir, "in/gone/a.ndjson")); err != nil {
		t.Errorf("a preview deletes what it reads: %v", err)
	}
	for source, want := range map[string]string{"theirs": "is external", "orderz": "it has orders, bad, none, gone, hooks, theirs"} {
		if r := p.Run(t, env, "preview", source); r.Code != 2 || !strings.Contains(r.Stderr, want) {
			t.Errorf("preview %s ends with %d: %s", source, r.Code, r.Stderr)
		}
	}

	proc := p.Start(t, nil, "run")
	binary.Eventually(t, "three rows", func() bool { return ask(t, p, "select count(*) from db.facts") == "3" })
	p.Run(t, env, "preview", "orders").Must(t)

	// Items that come to a door: the one of the preview is another.
	posted := binary.Pipeline{Bin: p.Bin, Dir: p.Dir, File: p.File}
	look := posted.Start(t, env, "preview", "hooks", "--items", "1", "--wait", "5m")
	var door string
	binary.Eventually(t, "the door of the preview", func() bool {
		m := regexp.MustCompile(`posted to (\S+)`).FindStringSubmatch(look.Stderr())
		if m != nil {
			door = m[1]
		}
		return m != nil
	})
	binary.Eventually(t, "the preview to have seen an item", func() bool { // it asks the source again and again, and in between the door takes nothing
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, door, strings.NewReader(`{"posted":1}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer sesame")
		if resp, err := (&http.Client{Timeout: time.Minute}).Do(request); err == nil { // else it has ended
			if resp.Body.Close(); resp.StatusCode != http.StatusServiceUnavailable {
				t.Fatalf("an item that is not kept is answered with %d", resp.StatusCode)
			}
		}
		return look.Ended()
	})
	if out := look.Wait(t, 3*time.Minute).Must(t); !strings.Contains(out, `{"posted":1}`) || !strings.Contains(out, "db.hooks would have") {
		t.Errorf("of what was posted it says\n%s", out)
	}

	waiting := p.Start(t, env, "preview", "hooks", "--wait", "1h")
	binary.Eventually(t, "a preview that waits", func() bool { return strings.Contains(waiting.Stderr(), "posted to") })
	if err := waiting.Cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if r := waiting.Wait(t, 3*time.Minute); r.Code != 130 {
		t.Errorf("an interrupted preview ends with %d: %s", r.Code, r.Stderr)
	}
	left, err := filepath.Glob(temp + "/headwater-preview-*")
	if err != nil || len(left) > 0 {
		t.Errorf("previews leave %q, %v", left, err)
	}
	s := statusOf(t, p)
	if s.Sources[0].Records != 3 || s.Sources[4].Records != 0 {
		t.Errorf("the process that runs beside the previews has collected %+v", s.Sources)
	}
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
}
