package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestSFTPKilled kills a process that reads files of an SFTP server again and again, and the server too. In the end every line is there once.
func TestSFTPKilled(t *testing.T) {
	t.Parallel()
	s := fixture.NewSFTP(t)
	surviveOf(t, s, s.Dir, func(name string) string {
		return fmt.Sprintf("{sftp: {url: %q, private_key: %q, known_hosts: %q, every: 50ms, settle: 50ms, timeout: 5s}}",
			"sftp://"+s.User+"@"+s.Addr+s.Dir+"/"+name+"/*.ndjson", s.Key, s.KnownHosts)
	})
}

// TestFTPKilled does the same with FTP.
func TestFTPKilled(t *testing.T) {
	t.Parallel()
	s := fixture.NewFTP(t, "", 0)
	surviveOf(t, s, s.Dir, func(name string) string {
		return fmt.Sprintf("{ftp: {url: %q, password: %q, tls: none, every: 50ms, settle: 50ms, timeout: 5s, connections: 2}}",
			"ftp://"+s.User+"@"+s.Addr+"/"+name+"/*.ndjson", s.Password)
	})
}

// surviveOf has a pipeline read two folders in a server's dir, by sources that are written so, and kills both again and again.
func surviveOf(t *testing.T, server interface {
	Start()
	Kill()
}, dir string, source func(name string) string,
) {
	t.Helper()
	kills, seed := drawn(t, 4, 10)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, binary.Build(t), "")
	if err := os.Symlink(dir, filepath.Join(w.Dir, "in")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"odd", "even"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.Write(t, "pipeline.yaml", fmt.Appendf(nil, `
database: db
collect: {snapshot_every: 100ms, max_record: 16KiB, max_item: 16KiB, retry: {max: 500ms, tries: 20}}
sources:
  odd: %s
  even: %s
land: {flush.size: 40, rotate.interval.ms: 300, rotate.schedule.interval.ms: 500}
serialize: {every: 200ms}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`, source("odd"), source("even")))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		other := rand.New(rand.NewPCG(seed, 1))
		for range kills {
			time.Sleep(time.Duration(500+other.IntN(2500)) * time.Millisecond)
			server.Kill()
			server.Start()
		}
	}()
	for range kills {
		proc := w.Start(t, w.env, "run")
		for life := time.Duration(1000+random.IntN(3000)) * time.Millisecond; life > 0; life -= 100 * time.Millisecond {
			w.arrive(t, random.IntN(60))
			if random.IntN(8) == 0 {
				w.arriveLarge(t)
			}
			time.Sleep(min(life, 100*time.Millisecond))
		}
		proc.Kill(t)
	}
	<-ended
	w.Run(t, w.env, "run", "--once").Must(t)
	w.verify(t)
	if got := len(w.objects(t).numbers); got == 0 {
		t.Error("nothing was read")
	}
	t.Logf("%d lines in %d files survived", w.next, w.files)
}
