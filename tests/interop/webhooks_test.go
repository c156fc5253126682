package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestWebhooks sends real webhooks, deep and irregular, by HTTP, each twice, and finds each once: byte for byte in the raw objects, and
// value by value in the raw table.
func TestWebhooks(t *testing.T) {
	hooks := fixture.Webhooks(t)
	if len(hooks) != 329 {
		t.Fatalf("%d webhooks", len(hooks))
	}
	p := newPipeline(t, `
sources:
  hooks: {push: {headers: [X-GitHub-Event], idempotency_header: X-GitHub-Delivery}}
`)
	proc := p.Start(t, nil, "run")
	var address string
	binary.Eventually(t, "a listener", func() bool {
		address = p.running(t).HTTP
		return address != ""
	})
	send := func(h fixture.Webhook) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/ingest/hooks", bytes.NewReader(h.Body))
		if err != nil {
			t.Error(err)
			return 0
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-GitHub-Event", h.Event)
		r.Header.Set("X-GitHub-Delivery", h.Key)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0 // the source may not run yet
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	var senders sync.WaitGroup
	for n := range 4 {
		senders.Go(func() {
			for i := n; i < 2*len(hooks); i += 4 {
				for send(hooks[i%len(hooks)]) != http.StatusOK {
					if t.Context().Err() != nil || t.Failed() {
						return
					}
				}
			}
		})
	}
	senders.Wait()
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, limit).Must(t)
	p.headwater(t, "run", "--once")

	inObjects(t, p, hooks)
	sent := map[string]json.RawMessage{}
	for _, h := range hooks {
		sent[h.Key] = h.Body
	}
	data, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	p.Write(t, "sent.json", data)
	var got struct {
		Rows, Keys, Leaves, Count int
		Differences               []string
	}
	python(t, &got, "webhooks.py", filepath.Join(p.Dir, "headwater-data/tables/air/hooks_raw"), filepath.Join(p.Dir, "sent.json"))
	if got.Rows != len(hooks) || got.Keys != len(hooks) || got.Count > 0 || got.Leaves < 20_000 {
		t.Errorf("%d rows of %d webhooks, %d values compared, %d differ:\n%s", got.Rows, got.Keys, got.Leaves, got.Count, strings.Join(got.Differences, "\n"))
	}
	flat := p.query(t, "select count(*), count(distinct sender_login), max(repository_id) from air.hooks")[0]
	if flat[0] != "329" || flat[1] == "0" || flat[2] == "" {
		t.Errorf("the flat table answers %v", flat)
	}
}

// addresses are where a running process answers, and to whom.
type addresses struct{ HTTP, Kafka, Hive, Token string }

// running is empty if the process does not answer yet.
func (p pipeline) running(t *testing.T) addresses {
	t.Helper()
	var run addresses
	data, err := os.ReadFile(filepath.Join(p.Dir, "headwater-data/run.json"))
	if err != nil {
		return run
	}
	if err := json.Unmarshal(data, &run); err != nil {
		t.Fatal(err)
	}
	return run
}

// inObjects looks for each body, without whitespace, in the raw objects.
func inObjects(t *testing.T, p pipeline, hooks []fixture.Webhook) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.Dir, rawObjects))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]byte{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bufio.NewReader(f))
		if err != nil {
			t.Fatal(err)
		}
		for d := json.NewDecoder(z); d.More(); {
			var e struct {
				RawData  json.RawMessage `json:"raw_data"`
				Metadata struct {
					Position string
					Headers  [][2]string
				}
			}
			if err := d.Decode(&e); err != nil {
				t.Fatal(err)
			}
			key := strings.TrimSuffix(e.Metadata.Position, "/0")
			if _, twice := found[key]; twice || len(e.Metadata.Headers) != 1 {
				t.Errorf("%s is there twice, or without its event: %v", key, e.Metadata.Headers)
			}
			found[key] = e.RawData
		}
		_ = f.Close()
	}
	for _, h := range hooks {
		var want bytes.Buffer
		if err := json.Compact(&want, h.Body); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want.Bytes(), found[h.Key]) {
			t.Errorf("%s is not what was sent", h.Key)
		}
	}
}
