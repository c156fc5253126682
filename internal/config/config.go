// Package config reads a pipeline: one YAML file, strictly.
//
// What enters: the file, the environment and the files that its ${...} name, and a Registry of the kinds of sources. What leaves: a
// Pipeline whose every part is valid, or all that is wrong with the file, each fault with its line. Each stage owns its Config,
// its defaults and its validation; this package composes them. It starts no goroutine and opens nothing but files to read.
//
// Invariants:
//  1. A key or a value that is not understood is a fault, never ignored or coerced.
//  2. All faults are reported at once, by line.
//  3. No text of this package holds what ${...} put in; a Secret prints as ***.
//  4. Work is bounded by the sizes in parse.go, whatever the file holds.
package config

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // so that timezone means the same on machines without a zone database

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/access"
	"headwater/internal/dayclose"
	"headwater/internal/notify"
	"headwater/internal/setting"
	"headwater/internal/slo"
	"headwater/kafka"
	"headwater/land"
	"headwater/query"
	"headwater/serialize"
	"headwater/table/hive"
)

// Pipeline is a valid pipeline file. Its paths are absolute.
type Pipeline struct {
	// File is the path that was loaded, Dir its folder, which the file's relative paths are relative to.
	File string `yaml:"-"`
	Dir  string `yaml:"-"`
	// Database is the one that the tables are in.
	Database string `yaml:"database"`
	// Timezone is the IANA name of Location, whose days are the table partitions.
	Timezone string         `yaml:"timezone"`
	Location *time.Location `yaml:"-"`
	// DataDir holds what this machine keeps for the pipeline.
	DataDir string `yaml:"data_dir"`
	// MinFree is how much must be free on the disk of DataDir for items to be collected into the embedded broker; 0 is no limit.
	MinFree setting.Bytes `yaml:"min_free"`
	// StuckAfter is how long something may have work to do and not move before the process says that it is not healthy; 0 is for ever.
	StuckAfter time.Duration `yaml:"stuck_after"`
	// Embedded allows a process to serve by itself what the file names no address for.
	Embedded bool `yaml:"embedded"`
	// State is the URL of the PostgreSQL database that has the runs and the objects of the embedded metastore; without, it is a file in DataDir.
	State  setting.Secret `yaml:"state"`
	Lake   Lake           `yaml:"lake"`
	Listen Listen         `yaml:"listen"`
	// Access is who may what at the doors; nil lets in who reaches them, which then are on this machine alone.
	Access *access.Config `yaml:"access"`
	// Kafka without brokers means the embedded one.
	Kafka kafka.Config `yaml:"kafka"`
	// Hive without URIs means the embedded one.
	Hive      hive.Config      `yaml:"hive"`
	Collect   collect.Config   `yaml:"collect"`
	Land      land.Config      `yaml:"land"`
	Serialize serialize.Config `yaml:"serialize"`
	Query     query.Limits     `yaml:"query"`
	// Close is when days of topics that others fill are over.
	Close dayclose.Config `yaml:"close"`
	// Scheduler is who makes the tables of the sources' days; a source may have its own.
	Scheduler string `yaml:"scheduler"`
	// SLO has the objectives of the sources' tables; a source may have its own.
	SLO slo.Config `yaml:"slo"`
	// Notify has whom to tell when something is wrong.
	Notify notify.Webhooks `yaml:"notify"`
	// Sources are in the file's order.
	Sources []Source `yaml:"-"`
}

// Lake is where the layers are: absolute paths of folders, or URLs of the schemes that the Registry has.
type Lake struct {
	Raw    string `yaml:"raw"`
	Tables string `yaml:"tables"`
	// ExactlyOnce is Required, or BestEffort to go on with a store that does not refuse what it was told to refuse.
	ExactlyOnce string `yaml:"exactly_once"`
	// RawKept is how long the store keeps raw objects, if it deletes them in time: audits do not miss older ones. 0 is for ever.
	RawKept time.Duration `yaml:"raw_kept"`
}

// The values of Lake.ExactlyOnce.
const (
	Required   = "required"
	BestEffort = "best_effort"
)

// Listen has the addresses of the doors that the process opens itself.
type Listen struct {
	HTTP  Address `yaml:"http"`
	Kafka Address `yaml:"kafka"`
	Hive  Address `yaml:"hive"`
	// TLS encrypts the HTTP and the Kafka door; without it they are plain.
	TLS *TLS `yaml:"tls"`
}

// TLS has files of PEM: the certificate of the doors, with those between it and its authority, and its key.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Address is a host and port to listen at.
type Address struct {
	Addr string
	// Written is set when the file names the address: then it is that one or an error, where a default may move to another port.
	Written bool
}

// UnmarshalText reads host:port.
func (a *Address) UnmarshalText(text []byte) error {
	_, port, err := net.SplitHostPort(string(text))
	if n, e := strconv.Atoi(port); err != nil || e != nil || n < 0 || n > 65535 {
		return fmt.Errorf("must be an address as 127.0.0.1:8080, with port 0 for any free one, got %q", text)
	}
	*a = Address{Addr: string(text), Written: true}
	return nil
}

// local says whether only this machine reaches the address.
func (a Address) local() bool {
	host, _, _ := net.SplitHostPort(a.Addr)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// unspecified says whether the address is all of the machine's.
func (a Address) unspecified() bool {
	host, _, _ := net.SplitHostPort(a.Addr)
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

func defaultPipeline() Pipeline {
	return Pipeline{
		Timezone:   "UTC",
		DataDir:    "headwater-data",
		MinFree:    256 << 20,
		StuckAfter: 15 * time.Minute,
		Embedded:   true,
		Lake:       Lake{ExactlyOnce: Required},
		Listen:     Listen{HTTP: Address{Addr: "127.0.0.1:8080"}, Kafka: Address{Addr: "127.0.0.1:9092"}, Hive: Address{Addr: "127.0.0.1:9083"}},
		Kafka:      kafka.DefaultConfig(),
		Hive:       hive.DefaultConfig(),
		Collect:    collect.DefaultConfig(),
		Land:       land.DefaultConfig(),
		Serialize:  serialize.DefaultConfig(),
		Query:      query.DefaultLimits(),
		Close:      dayclose.DefaultConfig(),
		Scheduler:  InternalScheduler,
		SLO:        slo.DefaultConfig(),
	}
}

// file is what the keys of a pipeline file go into.
type file struct {
	Pipeline `yaml:",inline"`
	Sources  *node                         `yaml:"sources"`
	lakes    map[string]func(string) error // by scheme
}

// Load reads the pipeline file at path. What is wrong with the file itself comes back as Faults.
func Load(path string, reg *Registry) (*Pipeline, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("finding the folder of pipeline %s: %w", path, err)
	}
	data, err := readFile(absolute)
	if err != nil {
		return nil, fmt.Errorf("reading the pipeline: %w", err)
	}
	return Parse(path, filepath.Dir(absolute), data, reg)
}

// Parse is Load of a file at path, in the folder dir, that holds data and need not be there.
func Parse(path, dir string, data []byte, reg *Registry) (*Pipeline, error) {
	p := newParser(dir)
	pipeline, faults := p.load(path, p.parse(data), reg)
	if len(faults) > 0 {
		return nil, faults
	}
	return pipeline, nil
}

// load makes a pipeline of the parsed file, or says all that is wrong with it.
func (p *parser) load(path string, root *node, reg *Registry) (*Pipeline, Faults) {
	f := file{Pipeline: defaultPipeline(), lakes: reg.lakes}
	f.File, f.Dir = path, p.expand.dir
	faults := read(root, &f, nil, f.validate)
	for i, fault := range faults {
		if len(fault.Path) == 1 && reg.source(root.values[fault.Path[0]]) {
			faults[i].Text += "; if it is a source, indent it under sources"
		}
	}
	faults.Under(f.readSources(reg))
	if all := p.report(path, root, faults); len(all) > 0 {
		return nil, all
	}
	return &f.Pipeline, nil
}

// readFile reads a file up to one byte beyond what is accepted.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

var (
	sourceName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	tableName  = regexp.MustCompile(`^[a-z0-9_]{1,128}$`)
)

// validate checks what belongs to no stage, and makes paths absolute.
func (f *file) validate() setting.Faults {
	var faults setting.Faults
	switch {
	case f.Database == "":
		faults.Add([]string{"database"}, "is missing: write the name of the database that the tables are in")
	case !tableName.MatchString(f.Database):
		faults.Add([]string{"database"}, "must be lower case letters, digits and _, at most 128, got %q", f.Database)
	}
	if f.Sources == nil {
		faults.Add([]string{"sources"}, "is missing: write the sources, or sources: {} to land only topics that others fill")
	}
	location, err := time.LoadLocation(f.Timezone)
	if err != nil || f.Timezone == "" || f.Timezone == "Local" {
		faults.Add([]string{"timezone"}, "must be a zone's name as UTC or Europe/Paris, got %q", f.Timezone)
	}
	f.Location = location
	if f.StuckAfter < 0 {
		faults.Add([]string{"stuck_after"}, "must not be negative, got %s", f.StuckAfter)
	}
	if f.MinFree < 0 {
		faults.Add([]string{"min_free"}, "must not be negative, got %s", f.MinFree)
	}
	faults.Under(f.validateFolders())
	faults.Under(f.validateStages())
	faults.Under(f.validateDoors())
	return faults
}

// validateDoors keeps doors that ask nobody who they are on this machine.
func (f *file) validateDoors() setting.Faults {
	var faults setting.Faults
	if t := f.Listen.TLS; t != nil {
		if f.Access == nil {
			faults.Add([]string{"listen", "tls"}, "is for doors that ask who somebody is: say under access: who may what (docs/access.md), or leave it out")
		}
		for key, path := range map[string]string{"cert": t.Cert, "key": t.Key} {
			if path == "" {
				faults.Add([]string{"listen", "tls", key}, "is missing: write the path of a file of PEM")
			}
		}
	}
	if f.Access != nil {
		faults.Under(f.Access.Validate(), "access")
	}
	for _, door := range []struct {
		name string
		Address
	}{{"http", f.Listen.HTTP}, {"kafka", f.Listen.Kafka}, {"hive", f.Listen.Hive}} {
		switch at := []string{"listen", door.name}; {
		case door.local():
		case door.name == "hive":
			faults.Add(at, "is reached from other machines, and the embedded metastore asks nobody who they are: listen at 127.0.0.1, or name a metastore of your own under hive.uris, got %s", door.Addr)
		case f.Access == nil:
			faults.Add(at, "is reached from other machines, and without access: everybody there would be let in: say under access: who may what (docs/access.md), with access: {} nobody but for health, metrics and push sources, or listen at 127.0.0.1, got %s", door.Addr)
		case door.name == "kafka" && door.unspecified():
			faults.Add(at, "must have a host that clients can connect to, because the broker tells it to them, as kafka.example:9092, got %s", door.Addr)
		}
	}
	taken := map[string]string{f.Listen.HTTP.Addr: "http"}
	for _, door := range []struct{ name, addr string }{{"kafka", f.Listen.Kafka.Addr}, {"hive", f.Listen.Hive.Addr}} {
		if other := taken[door.addr]; other != "" && !strings.HasSuffix(door.addr, ":0") {
			faults.Add([]string{"listen", door.name}, "is listen.%s's address: write another port", other)
		}
		taken[door.addr] = door.name
	}
	return faults
}

func (f *file) validateFolders() setting.Faults {
	var faults setting.Faults
	folder := func(at *string, fallback string, path ...string) {
		if *at == "" {
			*at = fallback
		}
		absolute, wrong := localFolder(f.Dir, *at)
		if scheme, _, _ := strings.Cut(*at, "://"); len(path) == 2 && f.lakes[scheme] != nil {
			absolute, wrong = *at, ""
			if err := f.lakes[scheme](*at); err != nil {
				wrong = err.Error()
			} else if scheme == "azblob" && path[1] == "tables" {
				wrong = "is in Azure, whose tables this version has no location for that Spark and Hive could read: write a folder, s3:// or gs://; raw objects can be there"
			}
		}
		if wrong != "" {
			faults.Add(path, "%s", wrong)
		}
		*at = absolute
	}
	folder(&f.DataDir, f.Dir, "data_dir")
	folder(&f.Lake.Raw, filepath.Join(f.DataDir, "raw"), "lake", "raw")
	folder(&f.Lake.Tables, filepath.Join(f.DataDir, "tables"), "lake", "tables")
	if f.Lake.ExactlyOnce != Required && f.Lake.ExactlyOnce != BestEffort {
		faults.Add([]string{"lake", "exactly_once"}, "must be required, or best_effort for a store without conditional writes, got %q", f.Lake.ExactlyOnce)
	}
	if f.Lake.RawKept < 0 {
		faults.Add([]string{"lake", "raw_kept"}, "must be how long raw objects are kept, or 0 for ever, got %s", f.Lake.RawKept)
	}
	if len(faults) == 0 && f.Lake.Raw == f.Lake.Tables {
		faults.Add([]string{"lake", "tables"}, "is the folder of lake.raw: each layer needs one of its own")
	}
	return faults
}

// daysFirst is the path.format whose folders are days.
const daysFirst = "'date'=YYYY-MM-dd"

const sloWithoutTables = "is about tables, and serialize.engine is none: leave it out"

// validateStages asks the stages, and checks what they have to agree on.
func (f *file) validateStages() setting.Faults {
	var faults setting.Faults
	if url := f.State.Reveal(); url != "" && !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		faults.Add([]string{"state"}, "must be a database's URL as postgres://headwater:password@postgres:5432/headwater, or be left out for a file in data_dir")
	}
	faults.Under(f.Kafka.Validate(), "kafka")
	faults.Under(f.Hive.Validate(), "hive")
	faults.Under(f.Collect.Validate(), "collect")
	faults.Under(f.Land.Validate(), "land")
	faults.Under(f.Serialize.Validate(), "serialize")
	faults.Under(f.Query.Validate(), "query")
	faults.Under(f.Close.Validate(), "close")
	validateScheduler(&faults, f.Scheduler)
	faults.Under(f.SLO.Validate(), "slo")
	if f.Serialize.Engine == serialize.NoEngine && len(f.SLO.Objectives()) > 0 {
		faults.Add([]string{"slo"}, "%s", sloWithoutTables)
	}
	faults.Under(f.Notify.Validate(), "notify")
	if !f.Embedded && len(f.Kafka.Brokers) == 0 {
		faults.Add([]string{"kafka", "brokers"}, "is missing, and embedded is false: name the brokers as [\"kafka:9092\"], or write embedded: true")
	}
	if !f.Embedded && len(f.Hive.URIs) == 0 {
		faults.Add([]string{"hive", "uris"}, "is missing, and embedded is false: name the metastore as [\"thrift://metastore:9083\"], or write embedded: true")
	}
	if f.Collect.MaxItem > f.Kafka.MaxRecordBytes {
		faults.Add([]string{"collect", "max_item"}, "must be at most kafka.max_record_bytes (%s), got %s", f.Kafka.MaxRecordBytes, f.Collect.MaxItem)
	}
	if zone := f.Land.Timezone; zone != "" && zone != f.Timezone && f.Serialize.Engine != serialize.NoEngine {
		faults.Add([]string{"land", "timezone"}, "must be the pipeline's timezone (%s), whose days the tables have, or be left out, got %s", f.Timezone, zone)
	}
	if f.Land.ObjectTagging && !strings.HasPrefix(f.Lake.Raw, "s3://") {
		faults.Add([]string{"land", "s3.object.tagging"}, "goes with lake.raw: \"s3://bucket\": other stores have no tags, and what an object covers stands in its last bytes anyway")
	}
	f.validateDays(&faults, f.Land, "land")
	for i, conf := range f.Land.Overridden() {
		if conf.Folders() == f.Land.Folders() && conf.ByClock() == f.Land.ByClock() && conf.TimeField() == f.Land.TimeField() {
			continue // it is said of land itself
		}
		f.validateDays(&faults, conf, "land", "overrides", strconv.Itoa(i))
	}
	var paths []*string
	if tls := f.Listen.TLS; tls != nil {
		paths = append(paths, &tls.Cert, &tls.Key)
	}
	if tls := f.Kafka.TLS; tls != nil {
		paths = append(paths, &tls.CA, &tls.Cert, &tls.Key)
	}
	if tls := f.Hive.TLS; tls != nil {
		paths = append(paths, &tls.CA, &tls.Cert, &tls.Key)
	}
	if submit := &f.Serialize.Spark.Submit; strings.Contains(*submit, "/") { // else it is looked for in PATH
		paths = append(paths, submit)
	}
	for _, path := range paths {
		if *path != "" {
			*path = setting.At(f.Dir, *path)
		}
	}
	return faults
}

// validateDays checks that serialize can make tables of the topics that conf, which is at path, is for.
func (f *file) validateDays(faults *setting.Faults, conf land.Config, path ...string) {
	if f.Serialize.Engine == serialize.NoEngine {
		return
	}
	if conf.ByClock() {
		faults.Add(under(path, "timestamp.extractor"), "must be RecordField or Record, because a table has a record on the day of its own time, and Wallclock's folders are of the time it is read; with serialize: {engine: none} no tables are made, and folders are as you like")
	}
	if field := conf.TimeField(); field != "" && field != envelope.KeyTimestamp {
		faults.Add(under(path, "timestamp.field"), "must be %s, because a table has a record on the day of that time, got %s, which would put records into folders of other days; a source of records that have their time elsewhere says so with external: {envelope: none, timestamp_field: %[2]s}; with serialize: {engine: none} no tables are made, and folders are as you like", envelope.KeyTimestamp, field)
	}
	if format := conf.Folders(); format != daysFirst && !strings.HasPrefix(format, daysFirst+"/") {
		key := "path.format"
		if format != conf.PathFormat {
			key = "partitioner.class"
		}
		faults.Add(under(path, key), "must give folders that begin with %s, because serialize looks for the days there, got %s; with serialize: {engine: none} no tables are made, and folders are as you like", daysFirst, format)
	}
}

// localFolder makes a folder or a file:// URL absolute, or says why it cannot.
func localFolder(dir, text string) (folder, wrong string) {
	scheme, _, isURL := strings.Cut(text, "://")
	switch {
	case isURL && scheme != "file":
		return "", fmt.Sprintf("has the scheme %s, which this version cannot reach: write a folder or file:///folder", scheme)
	case isURL:
		u, err := url.Parse(text)
		if err != nil || u.Host != "" || u.RawQuery != "" || u.Fragment != "" || !filepath.IsAbs(u.Path) {
			return "", fmt.Sprintf("must be a file URL as file:///srv/lake, got %q", text)
		}
		return filepath.Clean(u.Path), ""
	case strings.HasPrefix(text, "~"):
		return "", fmt.Sprintf("begins with ~, which only shells know: write the path out or ${HOME}, got %q", text)
	case filepath.IsAbs(text):
		return filepath.Clean(text), ""
	}
	return filepath.Join(dir, text), ""
}
