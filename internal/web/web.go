// Package web is the HTTP door of a running process: its API, asked by the other commands and by people's tools.
//
// Every path but /healthz, /readyz, /metrics and those of Ingest is for those whom Guard knows and who have the scope it takes: status and days for those who read
// tables or operate, what changes something for those who operate, and tokens for the process itself, whose token is in run.json. The package declares what it
// needs as an interface and knows none of the stages.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"headwater/internal/access"
	"headwater/internal/runs"
	"headwater/internal/tokens"
)

// API is what the door shows and does.
type API interface {
	// Status describes the process as it is now.
	Status(ctx context.Context) (Status, error)
	// Serialize makes the tables of one source and day. It blocks until that is done. Several calls may come at once.
	Serialize(ctx context.Context, r SerializeRequest) (SerializeResult, error)
	// Tables looks after tables that there are. It blocks until that is done. Several calls may come at once.
	Tables(ctx context.Context, r TablesRequest) (TablesResult, error)
	// Day says whether a day of a source is closed.
	Day(ctx context.Context, r DayRequest) (DayResult, error)
	// Runs shows runs, asks for some or cancels them; what it asks for is done later. Several calls may come at once.
	Runs(ctx context.Context, r RunsRequest) (RunsResult, error)
	// Query writes the answer to SQL over the tables that somebody may read. ErrForbidden is that they may not read one of those that it names.
	Query(ctx context.Context, id access.Identity, r QueryRequest, out io.Writer) error
	// Tokens makes, lists or revokes tokens.
	Tokens(ctx context.Context, r TokensRequest) (TokensResult, error)
	// NotReady has the reasons why the process does not do its work at the moment.
	NotReady(ctx context.Context) []string
	// Wedged has what has work to do and does not move, so that only a new process helps. It never blocks.
	Wedged() []string
}

// Status is the answer of GET /api/v1/status. Absent numbers are unknown, not zero.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid,omitempty"`
	Started time.Time `json:"started,omitzero"`
	DataDir string    `json:"data_dir"`
	Running bool      `json:"running"`
	Listen  Listen    `json:"listen"`
	Sources []Source  `json:"sources"`
	Topics  []Topic   `json:"topics"`
	Tables  []Table   `json:"tables"`
	// NotReady has the reasons why the process does not do its work at the moment; it is empty if it does.
	NotReady []string `json:"not_ready,omitempty"`
	// BestEffort has the layers, lake.raw or lake.tables, whose stores do not keep to the conditions of writes.
	BestEffort []string `json:"best_effort,omitempty"`
	// File is the pipeline file that the process follows; nil if none is running.
	File *File `json:"file,omitempty"`
	// FreeBytes are those of the disk of DataDir.
	FreeBytes int64 `json:"free_bytes,omitempty"`
	// MinFreeBytes are those that must be free there for items to be collected.
	MinFreeBytes int64 `json:"min_free_bytes,omitempty"`
	// Wedged says of each stage whether something of it has work to do and does not move.
	Wedged map[string]bool `json:"wedged,omitempty"`
	// MemoryLimits are the bytes that parts of the process may use.
	MemoryLimits map[string]int64 `json:"memory_limits,omitempty"`
	// Serialize is what was made of each source since the process started, by name.
	Serialize []Jobs `json:"serialize,omitempty"`
	// Days is how far the days of each source have come, as far as that is known.
	Days []Days `json:"days,omitempty"`
	// Retention has the topics with records that have not landed and that Kafka deletes in time, by name.
	Retention []Retention `json:"retention,omitempty"`
	// NextSchedule is when serialize.schedule is due next.
	NextSchedule time.Time `json:"next_schedule,omitzero"`
	// Runs are those of the pipeline; nil if the process makes no tables.
	Runs *Runs `json:"runs,omitempty"`
	// SLO has the objectives of the sources, and Notify the webhooks that are told of those that are breached, and of failed runs.
	SLO    []Objective `json:"slo,omitempty"`
	Notify []Webhook   `json:"notify,omitempty"`
}

// Runs counts runs: those that the database has, and the tries of this process.
type Runs struct {
	// States has how many are in each state.
	States map[string]int64 `json:"states"`
	// OldestWaiting is since when one of those that wait does.
	OldestWaiting time.Time `json:"oldest_waiting,omitzero"`
	// Attempts of this process have ended, and took so many seconds; Failures of them were the last of their run.
	Attempts int64   `json:"attempts"`
	Failures int64   `json:"failures"`
	Seconds  float64 `json:"seconds"`
	// Paused are sources whose schedule is.
	Paused []string `json:"paused,omitempty"`
}

// File is how far a process has followed its pipeline file.
type File struct {
	Path string `json:"path"`
	// Taken is when the sources that it works with were taken from the file; zero if it does not follow the file.
	Taken time.Time `json:"taken,omitzero"`
	// Fault says why the file, as it is now, is not taken.
	Fault string `json:"fault,omitempty"`
	// Restart has the keys whose values are others now, which only a restart takes.
	Restart []string `json:"restart,omitempty"`
}

// Jobs are the serialize runs of one source; those that found nothing new are not among them.
type Jobs struct {
	Source   string `json:"source"`
	Runs     int64  `json:"runs"`
	Failures int64  `json:"failures"`
	// FailingDays is how many days there are whose last run failed.
	FailingDays int `json:"failing_days,omitempty"`
	// Seconds is how long they all took.
	Seconds     float64 `json:"seconds"`
	Rows        int64   `json:"rows"`
	Quarantined int64   `json:"quarantined"`
	// Late is how many records, rows or not, came when their day had been closed.
	Late        int64     `json:"late,omitempty"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	// TablesUntil is a time: all that the source's topic had then is in the tables, or in quarantine.
	TablesUntil time.Time `json:"tables_until,omitzero"`
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// Audited is when days of the source were last audited; Differences is how many differences these audits have found, of each day the last one.
	Audited     time.Time `json:"audited,omitzero"`
	Differences int64     `json:"differences,omitempty"`
}

// Listen has host:port of the doors this process serves.
type Listen struct {
	HTTP  string `json:"http,omitempty"`
	Kafka string `json:"kafka,omitempty"`
	Hive  string `json:"hive,omitempty"`
}

// Source is how one source is doing; the counts are since the process started.
type Source struct {
	Name    string `json:"name"`
	State   string `json:"state"` // external if nothing is collected, because others fill its topic
	Records int64  `json:"records"`
	Bytes   int64  `json:"bytes"`
	// RecordsPerSecond and BytesPerSecond are over the last ten seconds.
	RecordsPerSecond float64   `json:"records_per_second"`
	BytesPerSecond   float64   `json:"bytes_per_second"`
	Malformed        int64     `json:"malformed"`
	Quarantined      int64     `json:"quarantined"`
	Streams          int       `json:"streams"`
	LastItem         time.Time `json:"last_item,omitzero"`
	LastError        string    `json:"last_error,omitempty"`
	LastErrorAt      time.Time `json:"last_error_at,omitzero"`
	// FailingSince is when the source failed first since it brought something last; zero if it does not fail.
	FailingSince time.Time `json:"failing_since,omitzero"`
}

// Topic is how far one Kafka partition has landed; the counts are since the process started.
type Topic struct {
	Topic       string `json:"topic"`
	Partition   int32  `json:"partition"`
	Committed   int64  `json:"committed"`
	Lag         int64  `json:"lag"`
	OpenObjects int    `json:"open_objects"`
	Objects     int64  `json:"objects"`
	Records     int64  `json:"records"`
	Bytes       int64  `json:"bytes"`
	Quarantined int64  `json:"quarantined"`
	// Errors is how often landing met an error after which it tries again.
	Errors int64 `json:"errors,omitempty"`
	// LandedUntil is a time, a few seconds back at best: all that the topic had then is landed.
	LandedUntil time.Time `json:"landed_until,omitzero"`
	// LogBytes is the size of the log on a broker's disk.
	LogBytes int64 `json:"log_bytes,omitempty"`
	// LostFrom to LostTo, which is excluded, are the offsets that Kafka deleted before they were landed, if LostTo is not 0.
	LostFrom int64 `json:"lost_from,omitempty"`
	LostTo   int64 `json:"lost_to,omitempty"`
	// Stopped says that a person has to do what LastError says.
	Stopped   bool   `json:"stopped,omitempty"`
	LastError string `json:"last_error,omitempty"`
}

// Retention is when Kafka deletes what has not landed of a topic.
type Retention struct {
	Topic string `json:"topic"`
	// Kept is for how many seconds the topic keeps records at least.
	Kept float64 `json:"kept_seconds"`
	// DeletedFrom is from when on Kafka may delete the oldest record that has not landed. It deletes whole segments, when their newest record is old enough.
	DeletedFrom time.Time `json:"deleted_from"`
}

// Table is what the catalog has of a table.
type Table struct {
	Name    string `json:"name"`
	Days    int    `json:"days"`
	LastDay string `json:"last_day,omitempty"`
	Rows    int64  `json:"rows"`
	Bytes   int64  `json:"bytes"`
	Columns int    `json:"columns"`
	// CompleteThrough is the last day that the table is complete with, all days before it included; empty if none is known.
	CompleteThrough string `json:"complete_through,omitempty"`
}

// SerializeRequest is the body of POST /api/v1/serialize.
type SerializeRequest struct {
	Source string `json:"source"`
	// Date is YYYY-MM-DD, or yesterday.
	Date        string `json:"date"`
	Full        bool   `json:"full,omitempty"`
	AllowShrink bool   `json:"allow_shrink,omitempty"`
	// Closed refuses a day that is not closed.
	Closed bool `json:"closed,omitempty"`
	// Engine is native, spark or auto, or empty for that of the pipeline.
	Engine string `json:"engine,omitempty"`
	// By is the scheduler that asks, airflow, or empty for a person.
	By string `json:"by,omitempty"`
}

// SerializeResult is its answer.
type SerializeResult struct {
	Source  string `json:"source"`
	Date    string `json:"date"`
	Objects int    `json:"objects"`
	// Rows is how many rows each of the two tables has for the day.
	Rows        int64 `json:"rows"`
	Quarantined int64 `json:"quarantined"`
	// Unchanged says that the tables were made from the same objects already and nothing was written.
	Unchanged bool `json:"unchanged"`
	// Breaches are the objectives that the day, or the tables, do not keep.
	Breaches []Objective `json:"breaches,omitempty"`
}

// TablesRequest is the body of POST /api/v1/tables.
type TablesRequest struct {
	// Do is audit, repair, rollback, drop, adopt or release.
	Do string `json:"do"`
	// Table is database.table; empty is all, for audit and repair.
	Table string `json:"table,omitempty"`
	// Date is the day to roll back, YYYY-MM-DD.
	Date string `json:"date,omitempty"`
	// Schema has a drop forget the schema ledger too.
	Schema bool `json:"schema,omitempty"`
	// Source, instead of Table, is whose tables to adopt or release.
	Source string `json:"source,omitempty"`
	// DryRun has an adoption or release say what it would do.
	DryRun bool `json:"dry_run,omitempty"`
}

// TablesResult is its answer.
type TablesResult struct {
	Reports []TableReport `json:"reports,omitempty"`
	// Rows are those of the day that was rolled back, Run is what made them.
	Rows int64  `json:"rows,omitempty"`
	Run  string `json:"run,omitempty"`
	// Objects of Bytes were deleted.
	Objects int   `json:"objects,omitempty"`
	Bytes   int64 `json:"bytes,omitempty"`
	// Text tells a person of an adoption or a release.
	Text string `json:"text,omitempty"`
}

// TableReport is what an audit has found of a table, or a repair before it mended it.
type TableReport struct {
	Table    string         `json:"table"`
	Days     int            `json:"days"`
	Rows     int64          `json:"rows"`
	Bytes    int64          `json:"bytes"`
	Findings []TableFinding `json:"findings"`
	// Mended says that the metastore was told.
	Mended bool `json:"mended,omitempty"`
}

// TableFinding is something of a day that is not as it should be, or that is good to know. Kinds are those of package table.
type TableFinding struct {
	Kind string `json:"kind"`
	Day  string `json:"day"`
	Text string `json:"text"`
}

// RunsRequest is the body of POST /api/v1/runs.
type RunsRequest struct {
	// Do is ls, show, retry, cancel, pause, resume or backfill.
	Do string `json:"do"`
	// ID is the run to show, retry or cancel; cancel takes a Batch as well.
	ID int64 `json:"id,omitempty"`
	// Source, Day, State and Batch are what is listed; Source is also what is paused or backfilled.
	Source string `json:"source,omitempty"`
	Day    string `json:"day,omitempty"`
	State  string `json:"state,omitempty"`
	Batch  string `json:"batch,omitempty"`
	Limit  int    `json:"limit,omitempty"`
	// From and To are the first and the last day of a backfill, YYYY-MM-DD. With DryRun nothing is asked for.
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// RunsResult is its answer.
type RunsResult struct {
	// Runs are those that were listed, asked for or changed.
	Runs []runs.Run `json:"runs"`
	// Log is that of the run that is shown.
	Log string `json:"log,omitempty"`
	// Batch is what the runs that were asked for have in common.
	Batch string `json:"batch,omitempty"`
	// Days are those of a backfill, those among them that need nothing.
	Days []BackfillDay `json:"days,omitempty"`
}

// BackfillDay is a day that a backfill has come upon.
type BackfillDay struct {
	Source string `json:"source"`
	Day    string `json:"day"`
	// Needed is false for a day whose tables are made of what there is.
	Needed bool `json:"needed"`
	// Fault says why that cannot be told; a run of the day would say the same.
	Fault string `json:"fault,omitempty"`
}

// TokensRequest is the body of POST /api/v1/tokens.
type TokensRequest struct {
	// Do is create, ls or revoke.
	Do string `json:"do"`
	// Name, Grant and Good, which is how long it is good for, are those of a token to create.
	Name string `json:"name,omitempty"`
	access.Grant
	Good time.Duration `json:"good,omitempty"`
	// ID is that of a token to revoke.
	ID string `json:"id,omitempty"`
}

// TokensResult is its answer.
type TokensResult struct {
	// Tokens are those that there are, or the one that was created.
	Tokens []tokens.Token `json:"tokens"`
	// Text is that of the one that was created; nobody is told it again.
	Text string `json:"text,omitempty"`
}

// Fault is the body of an answer that is not 2xx. Code is the exit code that the command line would have ended with.
type Fault struct {
	Message string `json:"error"`
	Code    int    `json:"code"`
}

func (f Fault) Error() string { return f.Message }

// Server serves an API. Listen with New, then Run.
type Server struct {
	api      API
	who      Guard
	log      *slog.Logger
	listener net.Listener
	http     *http.Server
}

// New makes a server for a listener, which Run closes. What is not the API's or metrics' is ingest's. ExitCode names the exit code of an
// error of the API.
func New(l net.Listener, api API, metrics, ingest http.Handler, who Guard, exitCode func(error) int, log *slog.Logger) *Server {
	s := &Server{api: api, who: who, log: log, listener: l}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { unless(w, api.Wedged()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { unless(w, api.NotReady(r.Context())) })
	mux.Handle("GET /metrics", metrics)
	mux.Handle("/", ingest)
	for _, at := range []struct {
		pattern string
		handler
		scopes []access.Scope
	}{
		{"GET /api/v1/hello", s.hello, access.Scopes},
		{"GET /api/v1/status", s.status(exitCode), []access.Scope{access.Tables, access.Operate}},
		{"GET /api/v1/day", asking(s, api.Day, exitCode), []access.Scope{access.Tables, access.Operate}},
		{"POST /api/v1/query", s.query(exitCode), []access.Scope{access.Tables}},
		{"POST /api/v1/serialize", doing(s, api.Serialize, exitCode), []access.Scope{access.Operate}},
		{"POST /api/v1/tables", doing(s, api.Tables, exitCode), []access.Scope{access.Operate}},
		{"POST /api/v1/runs", doing(s, api.Runs, exitCode), []access.Scope{access.Operate}},
		{"POST /api/v1/tokens", doing(s, api.Tokens, exitCode), nil},
	} {
		// A page of elsewhere must not have a browser, which has a password, ask here.
		mux.Handle(at.pattern, http.NewCrossOriginProtection().Handler(s.guard(at.handler, at.scopes...)))
	}
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	return s
}

// hello says who is asked, and who asks.
func (s *Server) hello(w http.ResponseWriter, _ *http.Request, id access.Identity) {
	s.answer(w, http.StatusOK, map[string]any{"pid": os.Getpid(), "name": id.Name, "scopes": id.Scopes})
}

// status leaves out the tables that one who does not operate may not read.
func (s *Server) status(exitCode func(error) int) handler {
	return func(w http.ResponseWriter, r *http.Request, id access.Identity) {
		status, err := s.api.Status(r.Context())
		if err != nil {
			s.answer(w, http.StatusInternalServerError, Fault{Message: err.Error(), Code: exitCode(err)})
			return
		}
		if !id.May(access.Operate) {
			status.Tables = slices.DeleteFunc(slices.Clone(status.Tables), func(t Table) bool {
				database, name, _ := strings.Cut(t.Name, ".")
				return !id.Reads(database, name)
			})
		}
		s.answer(w, http.StatusOK, status)
	}
}

// unless answers that all is well, unless there are reasons why it is not.
func unless(w http.ResponseWriter, reasons []string) {
	if len(reasons) == 0 {
		_, _ = w.Write([]byte("ok\n"))
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(strings.Join(reasons, "\n") + "\n"))
}

// doing answers requests with what do makes of their bodies.
func doing[Request, Result any](s *Server, do func(context.Context, Request) (Result, error), exitCode func(error) int) handler {
	return func(w http.ResponseWriter, r *http.Request, _ access.Identity) {
		var req Request
		body := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
		body.DisallowUnknownFields()
		if err := body.Decode(&req); err != nil {
			s.answer(w, http.StatusBadRequest, Fault{Message: "the body is not a request to " + r.URL.Path + ": " + err.Error(), Code: 2})
			return
		}
		result, err := do(r.Context(), req)
		if err != nil {
			s.answer(w, http.StatusUnprocessableEntity, Fault{Message: err.Error(), Code: exitCode(err)})
			return
		}
		s.answer(w, http.StatusOK, result)
	}
}

// Run serves until ctx ends, and then lets requests that are under way end for up to 5 s.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := s.http.Shutdown(grace); err != nil {
			s.log.Warn("cutting HTTP requests that did not end", "error", err)
			_ = s.http.Close()
		}
	})
	err := s.http.Serve(s.listener)
	if !stop() {
		<-ended // Serve returns at once, Shutdown only when the requests have ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *Server) answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.log.Debug("answering a request", "error", err)
	}
}
