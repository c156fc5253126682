// Package state guards a data folder: one process at a time has it, and the others find that process through run.json.
//
// Files: <data_dir>/lock is held under flock for as long as the process lives, so that a kill releases it;
// <data_dir>/run.json, written with the lock, says who holds it and, later, where it answers; it is believed only if the
// address answers with the token of the file. The package starts no goroutines.
package state

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"headwater/internal/trust"
)

// ErrLocked is returned by Lock when another process holds the data folder.
var ErrLocked = errors.New("the data folder is in use by another process")

// Running is the content of run.json.
type Running struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	// HTTP, Kafka and Hive are host:port of the doors that this process serves; HTTP is empty as long as there is none, Kafka and Hive
	// if the broker or the metastore is elsewhere.
	HTTP  string `json:"http,omitempty"`
	Kafka string `json:"kafka,omitempty"`
	Hive  string `json:"hive,omitempty"`
	// Token is asked for by the HTTP door as a bearer token, and proves that it is this process that answers.
	Token string `json:"token,omitempty"`
	// Certificate is that of the HTTP and the Kafka door, in DER, if they have one.
	Certificate []byte `json:"certificate,omitempty"`
}

// Dir is a locked data folder. Close releases it.
type Dir struct {
	path string
	lock *os.File
}

// Lock creates the data folder if need be and takes it for this process (ErrLocked). Network file systems are refused,
// because their locks cannot be trusted.
func Lock(path string) (*Dir, error) {
	if err := os.MkdirAll(filepath.Join(path, "tmp"), 0o750); err != nil {
		return nil, fmt.Errorf("creating the data folder: %w", err)
	}
	if err := refuseNetwork(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the data folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
		}
		holder := "its run.json names no process"
		if r, err := read(path); err == nil {
			holder = fmt.Sprintf("process %d since %s", r.PID, r.Started.Format(time.RFC3339))
		}
		return nil, fmt.Errorf("%w: %s (%s); stop that process or set another data_dir", ErrLocked, path, holder)
	}
	d := &Dir{path: path, lock: f}
	// In place of what a killed process has left: others must not take that for us.
	if err := d.Announce(Running{PID: os.Getpid(), Started: time.Now()}); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// networkFS are the magic numbers of file systems whose flock other machines may not see (statfs(2)).
var networkFS = map[int64]string{
	0x6969:     "NFS",
	0x517b:     "SMB",
	0xfe534d42: "SMB2",
	0xff534d42: "CIFS",
	0x00c36400: "Ceph",
	0x0bd00bd0: "Lustre",
	0x5346414f: "AFS",
}

func refuseNetwork(path string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("reading the file system of %s: %w", path, err)
	}
	if name, found := networkFS[int64(fs.Type)]; found {
		return fmt.Errorf("data_dir %s lies on %s, whose locks cannot be trusted; set data_dir to a local disk", path, name)
	}
	return nil
}

// Path joins names below the data folder.
func (d *Dir) Path(names ...string) string {
	return filepath.Join(append([]string{d.path}, names...)...)
}

// Temp empties and returns the folder tmp/name, for files that do not outlive this process.
func (d *Dir) Temp(name string) (string, error) {
	path := d.Path("tmp", name)
	if err := os.RemoveAll(path); err != nil {
		return "", fmt.Errorf("emptying %s: %w", path, err)
	}
	if err := os.MkdirAll(path, 0o750); err != nil {
		return "", fmt.Errorf("creating %s: %w", path, err)
	}
	return path, nil
}

// NewToken is a token for Running.
func NewToken() string { return rand.Text() }

// Announce writes run.json, whole or not at all.
func (d *Dir) Announce(r Running) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding run.json: %w", err)
	}
	name := d.Path("run.json")
	if err := os.WriteFile(name+".tmp", append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing run.json: %w", err)
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return fmt.Errorf("writing run.json: %w", err)
	}
	return nil
}

// Close removes run.json and releases the folder. It may be called twice.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	err := os.Remove(d.Path("run.json"))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	err = errors.Join(err, d.lock.Close())
	d.lock = nil
	return err
}

func read(path string) (Running, error) {
	var r Running
	data, err := os.ReadFile(filepath.Join(path, "run.json"))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("reading run.json: %w", err)
	}
	return r, nil
}

// Find returns what run.json says, and whether it is the process that serves the data folder. It is found only if the address of run.json answers with the
// file's token: the file of a killed process, or an address that another process has taken since, is no answer.
func Find(ctx context.Context, path string) (Running, bool) {
	r, err := read(path)
	if err != nil || r.HTTP == "" {
		return r, false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	direct, scheme := trust.Direct(r.Certificate)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+r.HTTP+"/api/v1/hello", nil)
	if err != nil {
		return r, false
	}
	req.Header.Set("Authorization", "Bearer "+r.Token)
	resp, err := direct.Do(req)
	if err != nil {
		return r, false
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		PID int `json:"pid"`
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	return r, err == nil && resp.StatusCode == http.StatusOK && answer.PID == r.PID
}
