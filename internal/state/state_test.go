package state

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the other process that holds a data folder.
func TestMain(m *testing.M) {
	dir := os.Getenv("STATE_TEST_HOLD")
	if dir == "" {
		os.Exit(m.Run())
	}
	d, err := Lock(dir)
	if err != nil {
		panic(err)
	}
	if err := d.Announce(Running{PID: os.Getpid(), Started: time.Now()}); err != nil {
		panic(err)
	}
	_, _ = os.Stdout.WriteString("held\n")
	time.Sleep(time.Minute)
}

func TestLockIsExclusiveAndDiesWithItsProcess(t *testing.T) {
	dir := t.TempDir()
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), "STATE_TEST_HOLD="+dir)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	_, err = Lock(dir)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "process ") {
		t.Errorf("a second process got %v, want ErrLocked naming the holder", err)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	d, err := Lock(dir)
	if err != nil {
		t.Fatalf("after the holder was killed: %v", err)
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "run.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("run.json is still there after Close: %v", err)
	}
}

func TestLockWithoutPermission(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(filepath.Join(file, "data")); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("a folder below a file: got %v", err)
	}
}

func TestTempIsEmptied(t *testing.T) {
	d, err := Lock(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 2 {
		dir, err := d.Temp("land")
		if err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Fatalf("%v, %v", left, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "orphan"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFind(t *testing.T) {
	const token = "secret"
	answering := os.Getpid()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]int{"pid": answering})
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	tests := []struct {
		name string
		r    *Running
		want bool
	}{
		{"no file", nil, false},
		{"the process answers", &Running{PID: answering, HTTP: address, Token: token}, true},
		{"another process has the address", &Running{PID: answering, HTTP: address, Token: "other"}, false},
		{"another process with the same token", &Running{PID: answering + 1, HTTP: address, Token: token}, false},
		{"nobody answers", &Running{PID: answering, HTTP: "127.0.0.1:1", Token: token}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d, err := Lock(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if test.r != nil {
				if err := d.Announce(*test.r); err != nil {
					t.Fatal(err)
				}
			}
			if _, ok := Find(context.Background(), d.Path()); ok != test.want {
				t.Errorf("found = %v, want %v", ok, test.want)
			}
		})
	}
}

// TestLockReplacesWhatAKilledProcessLeft has run.json name the new process before that answers anybody.
func TestLockReplacesWhatAKilledProcessLeft(t *testing.T) {
	dir := t.TempDir()
	stale := []byte(`{"pid":1,"started":"2020-01-01T00:00:00Z","http":"127.0.0.1:1","token":"old"}`)
	if err := os.WriteFile(filepath.Join(dir, "run.json"), stale, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	r, answers := Find(t.Context(), dir)
	if answers || r.PID != os.Getpid() || r.HTTP != "" || r.Token != "" || time.Since(r.Started) > time.Minute {
		t.Errorf("run.json says %+v, and answers: %v", r, answers)
	}
}
