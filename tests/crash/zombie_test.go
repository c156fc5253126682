package crash

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
)

// zombieLand keeps objects open for seconds, so that a process can be stopped while it has one open.
const zombieLand = `
land: {rotate.interval.ms: 600000, rotate.schedule.interval.ms: 4000}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`

// kafkaOf is where a running pipeline serves Kafka, empty if it does not run yet.
func kafkaOf(t *testing.T, p binary.Pipeline) string {
	t.Helper()
	var s struct{ Listen struct{ Kafka string } }
	if err := json.Unmarshal([]byte(p.Run(t, nil, "status", "--json").Must(t)), &s); err != nil {
		t.Fatal(err)
	}
	return s.Listen.Kafka
}

// stopped asks the kernel whether the process is stopped.
func stopped(t *testing.T, proc *binary.Process) bool {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", proc.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(stat), ") T ")
}

// TestZombie stops a second landing process, which shares topics and lake with the first, in the middle of putting an object. The
// first takes its topic over and lands more under the same name; then the second is woken and goes on with its shorter object.
func TestZombie(t *testing.T) {
	t.Parallel()
	zombie(t, binary.Build(t)).verify(t)
}

func zombie(t *testing.T, bin string) *world {
	head, _, _ := strings.Cut(pipeline, "\nland:")
	w := newWorld(t, bin, head+zombieLand)
	first := w.Start(t, nil, "run")
	binary.Eventually(t, "a broker", func() bool { return kafkaOf(t, w.Pipeline) != "" })

	second := binary.Pipeline{Bin: bin, Dir: w.Dir, File: filepath.Join(w.Dir, "second.yaml")}
	second.Write(t, "second.yaml", fmt.Appendf(nil, `
database: db
data_dir: second-data
kafka: {brokers: [%q]}
lake: {raw: headwater-data/raw, tables: headwater-data/tables}
sources: {}
%s`, kafkaOf(t, w.Pipeline), zombieLand))
	proc := second.Start(t, []string{"HEADWATER_STOP=lake.after-temp"}, "land") // which puts nothing else than objects
	binary.Eventually(t, "an object that the second process is putting", func() bool {
		w.arrive(t, 4)
		return stopped(t, proc)
	})
	for range 4 {
		w.arrive(t, 60)
	}
	landed := 0
	t.Cleanup(func() {
		if t.Failed() {
			first.Kill(t)
			t.Logf("%d of %d lines had landed; the first process said\n%s", landed, w.next, first.Wait(t, 3*time.Minute).Stderr)
		}
	})
	binary.Eventually(t, "the first process landing everything", func() bool {
		landed = len(w.objects(t).numbers)
		return landed == w.next
	})
	if err := proc.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // for what the woken process does next
	proc.Kill(t)
	if err := first.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	first.Wait(t, 3*time.Minute).Must(t)
	w.Run(t, nil, "run", "--once").Must(t)
	return w
}
