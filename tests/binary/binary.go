// Package binary builds headwater once per test run and drives it as a user would, for the tests of whole paths.
package binary

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// root is the module's folder.
var root = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
})

// built keeps the binary for the test process; the folder is left to the system's clean-up of temporary files, because no test
// knows that it is the last.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "headwater-test-")
	if err != nil {
		return "", err
	}
	return build(dir)
})

// Build is the path of a headwater binary of the working tree. HEADWATER_BIN names one that is built already.
func Build(t testing.TB) string {
	t.Helper()
	if bin := os.Getenv("HEADWATER_BIN"); bin != "" {
		return bin
	}
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// Mutant builds a binary in which old, which must occur exactly once in file (relative to the module), reads replacement: tests
// show with it that they fail when the code is broken.
func Mutant(t testing.TB, file, old, replacement string) string {
	t.Helper()
	bin, err := build(t.TempDir(), "-overlay", Overlay(t, file, old, replacement))
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// Overlay is the file for go build's -overlay that makes the change of Mutant.
func Overlay(t testing.TB, file, old, replacement string) string {
	t.Helper()
	dir := t.TempDir()
	top, err := root()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(top, file))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(source, []byte(old)); n != 1 {
		t.Fatalf("%s has %d places that read %q, want 1: adapt the mutation to the code", file, n, old)
	}
	mutated := filepath.Join(dir, "mutant.go")
	if err := os.WriteFile(mutated, bytes.Replace(source, []byte(old), []byte(replacement), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(top, file): mutated}})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func build(dir string, flags ...string) (string, error) {
	top, err := root()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "headwater")
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", bin, "./cmd/headwater")...)
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building headwater: %w\n%s", err, out)
	}
	return bin, nil
}

// Pipeline is a folder with a pipeline's YAML file and its data.
type Pipeline struct {
	Bin string
	// Dir is the folder, File the YAML file in it.
	Dir, File string
}

// New writes a pipeline into a folder of its own.
func New(t testing.TB, bin, yaml string) Pipeline {
	t.Helper()
	dir := t.TempDir()
	p := Pipeline{Bin: bin, Dir: dir, File: filepath.Join(dir, "pipeline.yaml")}
	p.Write(t, "pipeline.yaml", []byte(yaml))
	return p
}

// Write makes a file of the folder, whole or not at all, as a careful producer would.
func (p Pipeline) Write(t testing.TB, name string, data []byte) {
	t.Helper()
	path := filepath.Join(p.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(p.Dir, ".writing")
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
	// Signal is what killed it, 0 if it exited.
	Signal syscall.Signal
}

// Run runs a subcommand, of one word or two, on the pipeline to its end: `headwater command FILE args`. It is killed after two minutes.
func (p Pipeline) Run(t testing.TB, env []string, command string, args ...string) Result {
	t.Helper()
	proc := p.Start(t, env, command, args...)
	return proc.Wait(t, 3*time.Minute)
}

// Process is a command that is running.
type Process struct {
	Cmd            *exec.Cmd
	stdout, stderr said
	ended          chan struct{}
}

// said is what a process has written so far.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// Stderr is what the process has said on its standard error so far.
func (c *Process) Stderr() string { return c.stderr.String() }

// Start starts a subcommand; it is killed when the test ends.
func (p Pipeline) Start(t testing.TB, env []string, command string, args ...string) *Process {
	t.Helper()
	proc := &Process{ended: make(chan struct{})}
	proc.Cmd = exec.Command(p.Bin, append(append(strings.Fields(command), p.File), args...)...)
	proc.Cmd.Env = append(os.Environ(), env...)
	proc.Cmd.Stdout, proc.Cmd.Stderr = &proc.stdout, &proc.stderr
	if err := proc.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = proc.Cmd.Wait()
		close(proc.ended)
	}()
	t.Cleanup(func() {
		_ = proc.Cmd.Process.Kill()
		<-proc.ended
	})
	return proc
}

// Kill ends the process as a power cut would.
func (c *Process) Kill(t testing.TB) {
	t.Helper()
	if err := c.Cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	<-c.ended
}

// Ended reports whether it has ended.
func (c *Process) Ended() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// Wait waits for the end; a process that has not ended by itself in time fails the test.
func (c *Process) Wait(t testing.TB, limit time.Duration) Result {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(limit):
		t.Fatalf("%v did not end within %v\n%s", c.Cmd.Args, limit, c.Goroutines())
	}
	status := c.Cmd.ProcessState.Sys().(syscall.WaitStatus)
	r := Result{Stdout: c.stdout.String(), Stderr: c.stderr.String(), Code: status.ExitStatus()}
	if status.Signaled() {
		r.Signal = status.Signal()
	}
	return r
}

// Goroutines ends a process that does not what it should, and gives what it has said, what its goroutines were doing included.
func (c *Process) Goroutines() string {
	_ = c.Cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-c.ended:
	case <-time.After(10 * time.Second):
		_ = c.Cmd.Process.Kill()
		<-c.ended
	}
	return c.stderr.String()
}

// Must fails the test unless the command exited with 0, and gives its standard output.
func (r Result) Must(t testing.TB) string {
	t.Helper()
	if r.Code != 0 || r.Signal != 0 {
		t.Fatalf("exit code %d, signal %v\nstdout:\n%s\nstderr:\n%s", r.Code, r.Signal, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Eventually waits for what a process does in its own time, for up to three minutes: a group of consumers waits for a member that
// does not answer until its session and then the rebalance have timed out, and machines that run tests are slow.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	EventuallyOr(t, what, done, func() string { return "" })
}

// EventuallyOr is Eventually that says in the end what is instead.
func EventuallyOr(t testing.TB, what string, done func() bool, instead func() string) {
	t.Helper()
	for range 1800 {
		if done() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("three minutes have passed without %s\n%s", what, instead())
}
