// Package deploy tests what brings Headwater to where it runs: the image, the chart, what GitLab runs, the trial of everything with compose.
package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headwater/tests/binary"
)

const top = "../.."

// installed runs a script that installs something, and gives what it prints last; the test skips if the script cannot.
func installed(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(top, "scripts", script))
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("scripts/%s: %v\n%s", script, err, said.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Logf("scripts/%s: %s%s", script, said.String(), out)
	return lines[len(lines)-1]
}

// engine runs podman.
type engine struct{ t *testing.T }

// try gives what podman prints on its standard output, and with its error what it prints on the other.
func (e engine) try(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(top, "scripts", "podman.sh"), args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("podman %s: %w\n%s", strings.Join(args, " "), err, said.String())
	}
	return string(out), nil
}

func (e engine) must(args ...string) string {
	e.t.Helper()
	out, err := e.try(args...)
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}

// code is the exit code of podman, which is that of what it ran.
func code(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

// jail is how the containers of the test run: as anybody, with nothing that can be written but the volume, and with no right beyond that.
func jail(volume, pipeline string) []string {
	return []string{
		"--network", "none", "--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"--user", "123456", "--volume", volume + ":/data", "--volume", pipeline + ":/etc/headwater:ro",
	}
}

const pipeline = `
database: shop
timezone: Europe/Paris
data_dir: /data
land: {rotate.interval.ms: 1000, rotate.schedule.interval.ms: 1000}
serialize: {every: 1s}
sources:
  orders:
    file: {path: "in/*.ndjson", every: 100ms, settle: 0s}
`

// TestImage has the image do the main job, files in and rows out, on one volume: killed with rows on their way, started twice at the same time, started again and
// stopped. Then every item is one row.
func TestImage(t *testing.T) {
	if testing.Short() {
		t.Skip("an image is built")
	}
	installed(t, "setup-podman.sh")
	image := os.Getenv("HEADWATER_IMAGE") // one that is built already
	if image == "" {
		image = installed(t, "image.sh")
	}
	podman := engine{t}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // for the user of the container
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path+".new", []byte(text), 0o644), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	const files, perFile = 20, 500
	feed := func(from, to int) {
		for f := from; f < to; f++ {
			var lines strings.Builder
			for i := range perFile {
				fmt.Fprintf(&lines, `{"id": %d, "customer": {"country": "FR"}}`+"\n", f*perFile+i)
			}
			write(fmt.Sprintf("in/%03d.ndjson", f), lines.String())
		}
	}
	write("pipeline.yaml", pipeline)
	volume := strings.TrimSpace(podman.must("volume", "create"))
	name := "headwater-test-" + volume[:12]
	t.Cleanup(func() {
		_, _ = podman.try("rm", "--force", "--time", "0", name)
		_, _ = podman.try("volume", "rm", "--force", volume)
	})
	command := func(first []string, args ...string) []string {
		return append(append(append(first, jail(volume, dir)...), image), args...)
	}
	ask := func(sql string) string {
		out, err := podman.try(command([]string{"run", "--rm"}, "query", "/etc/headwater/pipeline.yaml", sql, "--format", "csv")...)
		if err != nil {
			return err.Error()
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		return lines[len(lines)-1]
	}
	count := func() string { return ask("select count(*), count(distinct id) from shop.orders") }

	feed(0, files/2)
	podman.must(command([]string{"run", "--detach", "--name", name}, "run", "/etc/headwater/pipeline.yaml")...)
	t.Cleanup(func() {
		if t.Failed() {
			said, err := exec.Command(filepath.Join(top, "scripts", "podman.sh"), "logs", name).CombinedOutput()
			t.Log(string(said), err)
		}
	})
	binary.EventuallyOr(t, "a row", func() bool { return regexp.MustCompile(`^[1-9][0-9]*,[0-9]+$`).MatchString(count()) }, count)
	if out, err := podman.try(command([]string{"run", "--rm"}, "run", "/etc/headwater/pipeline.yaml", "--once")...); code(err) != 7 {
		t.Errorf("a second container on the volume ended with %v, want exit code 7\n%s", err, out)
	}
	feed(files/2, files*3/4)
	podman.must("kill", "--signal", "KILL", name)
	feed(files*3/4, files)
	podman.must("start", name)
	want := fmt.Sprintf("%d,%d", files*perFile, files*perFile)
	binary.EventuallyOr(t, want+" rows and ids", func() bool { return count() == want }, count)
	podman.must("stop", "--time", "120", name)
	if got := strings.TrimSpace(podman.must("inspect", "--format", "{{.State.ExitCode}}", name)); got != "0" {
		t.Errorf("the stopped container ended with %s, want 0", got)
	}
	podman.must(command([]string{"run", "--rm"}, "run", "/etc/headwater/pipeline.yaml", "--once")...)
	if got := count(); got != want {
		t.Errorf("after all there are %s rows and ids, want %s", got, want)
	}
	if got := ask("select count(*), count(distinct raw_data.id) from shop.orders_raw"); got != want {
		t.Errorf("the raw table has %s rows and ids, want %s", got, want)
	}
}
