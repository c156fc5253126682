package crash

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestMain lets this binary run itself again as a process that passes points until it dies.
func TestMain(m *testing.M) {
	if os.Getenv("HEADWATER_CRASH_CHILD") == "" {
		os.Exit(m.Run())
	}
	for _, name := range []string{"land.after-put", "land.after-put", "land.after-commit", "land.after-put"} {
		_, _ = os.Stdout.WriteString(name + "\n")
		Point(name)
	}
	_, _ = os.Stdout.WriteString("end\n")
}

func child(t *testing.T, armed string) (passed []string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "HEADWATER_CRASH_CHILD=1", "HEADWATER_CRASH="+armed)
	out, err := cmd.Output()
	return strings.Fields(string(out)), err
}

func TestPoint(t *testing.T) {
	const put, commit = "land.after-put", "land.after-commit"
	for armed, want := range map[string][]string{
		"":                  {put, put, commit, put, "end"},
		"land.before-put":   {put, put, commit, put, "end"},
		"land.after-put":    {put},
		"land.after-put:1":  {put},
		"land.after-put:2":  {put, put},
		"land.after-put:3":  {put, put, commit, put},
		"land.after-put:4":  {put, put, commit, put, "end"},
		"land.after-commit": {put, put, commit},
	} {
		passed, err := child(t, armed)
		if !slices.Equal(passed, want) {
			t.Errorf("armed with %q it passed %v, want %v", armed, passed, want)
		}
		if killed := signalOf(err) == syscall.SIGKILL; killed != (want[len(want)-1] != "end") {
			t.Errorf("armed with %q it ended with %v", armed, err)
		}
	}
}

func TestStop(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "HEADWATER_CRASH_CHILD=1", "HEADWATER_STOP=land.after-put:2")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("it is not stopped: %v, %v", status, err)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	passed, err := io.ReadAll(out)
	if err != nil || !strings.HasSuffix(string(passed), "end\n") {
		t.Errorf("after it was continued it passed %q, %v", passed, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func signalOf(err error) syscall.Signal {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return 0
	}
	return exit.Sys().(syscall.WaitStatus).Signal()
}

func TestBadCount(t *testing.T) {
	for _, armed := range []string{"land.after-put:0", "land.after-put:-1", "land.after-put:x", "land.after-put:"} {
		_, err := child(t, armed)
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || !strings.Contains(string(exit.Stderr), "must be a positive number") {
			t.Errorf("armed with %q it ended with %v", armed, err)
		}
	}
}

func TestPoints(t *testing.T) {
	form := regexp.MustCompile(`^(collect|kafka|lake|land|runs|serialize|table)\.[a-z]+(-[a-z]+)*$`)
	for i, name := range Points {
		if !form.MatchString(name) || slices.Contains(Points[:i], name) {
			t.Errorf("point %q has not the form stage.when or is there twice", name)
		}
	}
}
