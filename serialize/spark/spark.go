// Package spark makes the tables of a day on Apache Spark.
//
// What enters: the places of the day's objects and of two new folders. What leaves: Parquet files in them, and what Spark says of them. The program that runs
// on Spark, job.py, is part of the binary; what it counts, and which schema it finds, is asked back here before it goes on. The objects and the
// files never come through this process, which decides, and Spark, which works, speak by lines of JSON.
//
// Run starts one process, in a group of its own, and has ended it, with all that it has started, when it returns.
package spark

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"headwater/internal/retry"
	"headwater/schema"
)

//go:embed job.py
var program []byte

// Options are what a Run works with.
type Options struct {
	Config Config
	// Properties are what Spark must be told of the lake, besides what Config says.
	Properties map[string]string
	// Temp is the folder for the program and what it is told.
	Temp   string
	Logger *slog.Logger
}

// Request is a day. Places are spelled as Spark has them.
type Request struct {
	// Inputs are the objects.
	Inputs []string `json:"inputs"`
	// From and To bound the times of the day, in milliseconds.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// RecordBytes is the length of the longest record, its line feed included.
	RecordBytes int64 `json:"record_bytes"`
	// Scratch, Raw and Flat are folders that do not exist. What is in Scratch afterwards is for nobody.
	Scratch string `json:"scratch"`
	Raw     string `json:"raw"`
	Flat    string `json:"flat"`
}

// Corrupt is a column that Spark finds if there are records that it cannot read.
const Corrupt = "_headwater_corrupt"

// What raw_data is in a record, or why the record is no row.
const (
	Object = "object"
	// Null is an empty string, too.
	Null = "null"
	// Bare is any other value.
	Bare = "bare"
	// Bad is a record that is none.
	Bad = "bad"
	// Long is one that is too long.
	Long = "long"
)

// Count is how many records of a kind an object has.
type Count struct {
	URI string `json:"uri"`
	// Size is the object's, in bytes.
	Size    int64  `json:"size"`
	What    string `json:"what"`
	Records int64  `json:"records"`
}

// Clean says which objects have records that must not be read.
type Clean struct {
	URIs []string `json:"clean"`
	// Bare: so must be those of that kind.
	Bare bool `json:"bare"`
}

// Record is one that is not read. SHA256 is that of its line, in hexadecimals, and empty if it is too long.
type Record struct {
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
}

// Plan says what becomes of the records.
type Plan struct {
	// Read is the type of a record, Raw the same with the names of the raw table's columns.
	Read schema.Type `json:"read"`
	Raw  schema.Type `json:"raw"`
	// Time is the column of Raw that every record has.
	Time string   `json:"time"`
	Flat []Column `json:"flat"`
}

// Column is one of the flat table.
type Column struct {
	Name string `json:"name"`
	// Path leads to its values in the raw table.
	Path []string `json:"path"`
	// Millis: they are a time in milliseconds.
	Millis bool `json:"millis"`
}

// Made is what Spark reads back of the files of a table.
type Made struct {
	Rows   int64       `json:"rows"`
	Schema schema.Type `json:"schema"`
	// Files are the places of the files.
	Files []string `json:"files"`
}

// Result is both tables.
type Result struct {
	Raw  Made `json:"raw"`
	Flat Made `json:"flat"`
}

// Decider is asked in this order. An error ends the Run, which returns it.
type Decider interface {
	// Counted is told what there is, and says which records are to be left out.
	Counted([]Count) (Clean, error)
	// LeftOut is called for each of those.
	LeftOut(Record) error
	// Inferred is told the type of a record that Spark finds in the others.
	Inferred(schema.Type) (Plan, error)
}

// Failure is what Spark says of its own.
type Failure struct {
	Text string `json:"text"`
	// Data: another try gives the same, of the same objects.
	Data bool `json:"data"`
}

func (f Failure) Error() string { return "Spark: " + f.Text }

// settings are Settings.
var settings = map[string]string{
	"spark.sql.caseSensitive":                                       "true",
	"spark.sql.session.timeZone":                                    "UTC",
	"spark.sql.files.ignoreCorruptFiles":                            "false",
	"spark.sql.files.ignoreMissingFiles":                            "false",
	"spark.sql.parquet.compression.codec":                           "snappy",
	"spark.sql.parquet.outputTimestampType":                         "TIMESTAMP_MICROS",
	"spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
	// Nobody reads the folder before it is committed: files need not be moved twice, which on S3 is to copy them.
	"spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
}

// Settings are those on which values, types and files depend.
func Settings() map[string]string { return maps.Clone(settings) }

// reportSeconds is how often the program says how far it is.
const reportSeconds = 5

// termTime is how long Spark may take to end when it is told to.
const termTime = 10 * time.Second

// Run has the day made. It returns the context's cause if that ends it, and a Failure if Spark has given up.
func Run(ctx context.Context, o Options, r Request, d Decider) (Result, error) {
	dir, err := o.write(r)
	if err != nil {
		return Result{}, fmt.Errorf("writing down what Spark is to do: %w", err)
	}
	defer os.RemoveAll(dir)
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	cmd := o.command(running, dir)
	t := &talk{decider: d, log: o.Logger, end: end}
	if t.in, err = cmd.StdinPipe(); err != nil {
		return Result{}, fmt.Errorf("starting Spark: %w", err)
	}
	cmd.Stdout, cmd.Stderr = t, &t.tail
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			err = retry.Stop(fmt.Errorf("%w: install Spark 4, or write the path of its spark-submit as serialize.spark.submit, or engine: native", err))
		}
		return Result{}, fmt.Errorf("starting Spark: %w", err)
	}
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whatever it has started and left behind
	switch {
	case t.result != nil:
		return *t.result, nil // how it ends says nothing more
	case running.Err() != nil:
		return Result{}, context.Cause(running)
	case t.failure != nil:
		if line := t.tail.firstError(); line != "" && !t.failure.Data { // what the program says may be but a consequence
			t.failure.Text += "; its log says: " + line
		}
		return Result{}, *t.failure
	}
	return Result{}, fmt.Errorf("%s ended before it was done (%v): %s", o.Config.Submit, err, t.tail.telling())
}

// write puts the files that the program needs into a folder of their own, which nobody else can read.
func (o *Options) write(r Request) (dir string, err error) {
	if dir, err = os.MkdirTemp(o.Temp, "spark-*"); err != nil {
		return "", err
	}
	request, err := json.Marshal(struct {
		Request
		Settings map[string]string `json:"settings"`
		Every    int               `json:"report_seconds"`
	}{r, settings, reportSeconds})
	for name, data := range map[string][]byte{"headwater.py": program, "request.json": request, "spark.properties": o.Config.properties(o.Properties)} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// command is spark-submit in a process group of its own, which ends as a whole.
func (o *Options) command(ctx context.Context, dir string) *exec.Cmd {
	args := slices.Concat(
		[]string{"--master", o.Config.Master, "--deploy-mode", "client", "--name", "headwater", "--properties-file", filepath.Join(dir, "spark.properties"), "--load-spark-defaults"},
		o.Config.Args, []string{filepath.Join(dir, "headwater.py"), filepath.Join(dir, "request.json")},
	)
	cmd := exec.CommandContext(ctx, o.Config.Submit, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = termTime
	return cmd
}
