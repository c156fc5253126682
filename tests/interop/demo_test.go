package interop

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// told is what a process has printed so far.
type told struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *told) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *told) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// TestDemo runs what the demo tells a newcomer to try, while it runs, and then ends it as a newcomer would.
func TestDemo(t *testing.T) {
	kcat, python := fixture.Kcat(t), fixture.Python(t)
	var out told
	cmd := exec.Command(binary.Build(t), "demo", "--dir", "demo")
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	binary.Eventually(t, "what to try", func() bool { return strings.Contains(out.String(), "Ctrl-C ends it") })
	var lines []string
	for _, m := range regexp.MustCompile(`(?m)^  (\S.*)$`).FindAllStringSubmatch(out.String(), -1) {
		lines = append(lines, m[1])
	}
	wants := map[string]string{
		"from demo.trades": "RIVR", "from demo.orders": "coun", " status ": "demo.shipments", "/ingest/orders": `{"records":1}`,
		"/metrics": `headwater_collect_records_total{source="trades"}`, "kcat": `"raw_data":{"`, "zcat": `"raw_data":{"shipment_id"`, "pandas": "carrier",
		"spark-sql": "Otter",
	}
	if len(lines) != len(wants) {
		t.Errorf("%d lines to try: %q", len(lines), lines)
	}
	for _, line := range lines {
		line = strings.ReplaceAll(line, "kcat ", kcat+" ")
		var got []byte
		var err error
		for range 3 {
			try := exec.CommandContext(t.Context(), "bash", "-c", line)
			try.Dir = cmd.Dir
			try.Env = append(os.Environ(), "PATH="+filepath.Dir(python)+":"+os.Getenv("PATH")) // as where a virtual environment is active
			// The day changes every two seconds, and Spark opens its file twice: docs/format/publish.md.
			if got, err = try.CombinedOutput(); err == nil || !bytes.Contains(got, []byte("[FAILED_READ_FILE")) {
				break
			}
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", line, err, got)
		}
		for part, want := range wants {
			if strings.Contains(line, part) {
				delete(wants, part)
				if !bytes.Contains(got, []byte(want)) {
					t.Errorf("%s does not say %s:\n%s", line, want, got)
				}
				if part == "kcat" {
					envelopes(t, got)
				}
			}
		}
	}
	if len(wants) > 0 {
		t.Errorf("nothing was to be tried with %v", wants)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if text := out.String(); !strings.Contains(text, "shipments: all ") || t.Failed() {
		t.Errorf("it said\n%s", text)
	}
	if logs, err := filepath.Glob(filepath.Join(cmd.Dir, "demo", "headwater.log")); err != nil || len(logs) != 1 {
		t.Error(logs, err)
	}
}

// envelopes fails the test unless each line is one.
func envelopes(t *testing.T, text []byte) {
	t.Helper()
	n := 0
	for line := range bytes.Lines(text) {
		var e map[string]json.RawMessage
		if line[0] != '{' {
			continue // what kcat says of itself
		}
		if err := json.Unmarshal(line, &e); err != nil || len(e) != 3 || e["raw_data"] == nil || e["metadata"] == nil || e["ingestion_timestamp"] == nil {
			t.Errorf("%s is no envelope: %v", line, err)
		}
		n++
	}
	if n == 0 {
		t.Errorf("no record in %s", text)
	}
}
