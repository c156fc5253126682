package interop

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestSFTP runs the example of docs/sources/sftp.md, with another address, on the flights.
func TestSFTP(t *testing.T) {
	t.Parallel()
	server := fixture.NewSFTP(t)
	flightsFrom(t, "sftp", server.Dir, &url.URL{Scheme: "sftp", User: url.User(server.User), Host: server.Addr, Path: server.Dir}, func(p binary.Pipeline) {
		key, err := os.ReadFile(server.Key)
		must(t, err)
		p.Write(t, "id_ed25519", key)
		p.Write(t, "known_hosts", []byte(server.KnownHosts))
	})
}

// TestFTP runs the example of docs/sources/ftp.md, with another address, on the flights.
func TestFTP(t *testing.T) {
	server := fixture.NewVsftpd(t, "explicit")
	t.Setenv("FTP_PASSWORD", server.Password)
	flightsFrom(t, "ftp", server.Dir, &url.URL{Scheme: "ftp", User: url.User(server.User), Host: server.Addr, Path: server.Path}, func(p binary.Pipeline) {
		ca, err := os.ReadFile(server.CA)
		must(t, err)
		p.Write(t, "ca.pem", ca)
	})
}

// flightsFrom puts the flights, in two compressed files, into a folder that a server has, and runs the example of a source's page.
func flightsFrom(t *testing.T, page, dir string, at *url.URL, prepare func(binary.Pipeline)) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/sources/" + page + ".md")
	must(t, err)
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(doc)[1]
	address := regexp.MustCompile(page + `://[^"]*/`)
	if !address.Match(example) {
		t.Fatalf("docs/sources/%s.md has no address of %s", page, page)
	}
	data, err := os.ReadFile(fixture.FlightsCSV(t))
	must(t, err)
	header, rows, _ := strings.Cut(string(data), "\n")
	half := strings.Index(rows[len(rows)/2:], "\n") + len(rows)/2 + 1
	for name, part := range map[string]string{"1.csv.gz": rows[:half], "2.csv.gz": rows[half:]} {
		f, err := os.Create(filepath.Join(dir, name))
		must(t, err)
		z := gzip.NewWriter(f)
		_, err = fmt.Fprint(z, header, "\n", part)
		must(t, err)
		must(t, z.Close())
		must(t, f.Close())
	}
	p := binary.New(t, binary.Build(t), address.ReplaceAllString(string(example), at.String()+"/")+"listen: {http: 127.0.0.1:0, kafka: 127.0.0.1:0}\n")
	prepare(p)
	p.Run(t, nil, "run", "--once").Must(t)
	p.Run(t, nil, "run", "--once").Must(t) // which finds nothing new
	got := p.Run(t, nil, "query", "select count(*) as n, sum(cast(distance as bigint)) as d from market.orders", "--format", "csv").Must(t)
	if want := fmt.Sprintf("n,d\n%d,350217607\n", fixture.Flights); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
