// Package metastore is a Hive Metastore inside the process: it answers the metastore's thrift protocol and keeps its objects in SQLite, or in a
// PostgreSQL database that several processes may serve.
//
// What enters: the calls of Spark, Hive, Trino, Iceberg and of table/hive. What leaves: the databases, tables and partitions that they made,
// as they made them. It knows nothing of Headwater's tables: those are registered through the same door as everybody's, and can be
// again if the file is lost. It reads and writes no table's files: a managed table that is dropped leaves its files behind, and the
// log says so.
//
// Goroutines: one accepts, one for each connection; Close ends them all. The contract is hive_metastore.thrift of Apache Hive; calls that
// are not served are answered as an old metastore answers newer ones: unknown method, and why.
//
// Invariants:
//  1. A call is one transaction: it has happened whole, and is on disk, before it is answered, or not at all.
//  2. An object comes back with every field it came with.
//  3. A client that sends anything at all, or stops in the middle of it, costs its own connection and a bounded amount of memory, no more.
//  4. Calls that change something are one after the other, in all processes that share a database: what a call has read is so when it writes.
package metastore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"
)

// maxMessage bounds a call and its answer; Hive's own limit is 100 MB too.
const maxMessage = 100 << 20

// Config says where the metastore is.
type Config struct {
	// Path is the SQLite file, unless PostgreSQL is set; it is created if need be, its folder is not. One process at a time may have it.
	Path string
	// PostgreSQL is the URL of a database that any number of processes may serve at once. Its tables begin with hive_.
	PostgreSQL string
	// Addr is host:port to listen at; port 0 takes any free one.
	Addr string
	// Warehouse is the URL of the folder that databases without a location get theirs below.
	Warehouse string
}

// Metastore is a server. Close ends it.
type Metastore struct {
	listener net.Listener
	objects  *objects
	process  thrift.TProcessor
	log      *slog.Logger
	cancel   context.CancelFunc

	running sync.WaitGroup
	mu      sync.Mutex
	open    map[net.Conn]struct{}
	closed  bool
}

// Open starts to serve. A taken address is syscall.EADDRINUSE.
func Open(cfg Config, log *slog.Logger) (*Metastore, error) {
	listener, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	objects, err := openObjects(ctx, cfg)
	if err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("opening the metastore's database %s: %w", cfg.place(), err), listener.Close())
	}
	m := &Metastore{
		listener: listener, objects: objects, process: processor(&service{objects: objects, log: log, started: time.Now(), lists: make(chan struct{}, maxLists)}, log),
		log: log, cancel: cancel, open: map[net.Conn]struct{}{},
	}
	m.running.Go(func() { m.accept(ctx) })
	return m, nil
}

// place is where the database is, and what to do if it cannot be opened.
func (c Config) place() string {
	if c.PostgreSQL != "" {
		return "in PostgreSQL (check its URL, and that its user may create tables)"
	}
	return c.Path + " (it can be deleted: our tables are registered again; those that others made are not)"
}

// Addr is host:port that it listens at.
func (m *Metastore) Addr() string { return m.listener.Addr().String() }

// Close cuts the connections, undoes the calls that are under way and closes the database. It may be called twice.
func (m *Metastore) Close() error {
	err := m.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	m.cancel() // a database may hang
	m.mu.Lock()
	m.closed = true
	for conn := range m.open {
		_ = conn.Close()
	}
	m.mu.Unlock()
	m.running.Wait()
	return errors.Join(err, m.objects.close())
}

func (m *Metastore) accept(ctx context.Context) {
	for {
		conn, err := m.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // no more file descriptors, say
			m.log.Warn("accepting a connection to the metastore", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if m.enter(conn) {
			m.running.Go(func() { m.serve(ctx, conn) })
		}
	}
}

func (m *Metastore) enter(conn net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		_ = conn.Close()
		return false
	}
	m.open[conn] = struct{}{}
	return true
}

// protocol is what metastores and their clients speak unless they are told otherwise: the binary protocol, unframed.
func protocol() (*thrift.TBufferedTransportFactory, *thrift.TBinaryProtocolFactory) {
	cfg := &thrift.TConfiguration{MaxMessageSize: maxMessage, TBinaryStrictRead: new(true), TBinaryStrictWrite: new(true)}
	return thrift.NewTBufferedTransportFactory(16 << 10), thrift.NewTBinaryProtocolFactoryConf(cfg)
}

// patience is how long a client may send or take nothing in the middle of a call. Between calls it may be idle for as long as it likes: one that
// is gone is found out by TCP's keep-alive.
const patience = time.Minute

// moving is a client's connection. Before each call begin is set.
type moving struct {
	*net.TCPConn
	begin bool
}

// Read implements net.Conn.
func (m *moving) Read(p []byte) (int, error) {
	var until time.Time
	if !m.begin {
		until = time.Now().Add(patience)
	}
	if err := m.SetReadDeadline(until); err != nil {
		return 0, err
	}
	n, err := m.TCPConn.Read(p)
	m.begin = m.begin && n == 0
	return n, err
}

// Write implements net.Conn.
func (m *moving) Write(p []byte) (int, error) {
	if err := m.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	return m.TCPConn.Write(p)
}

// serve answers a connection's calls, one after the other, until it ends.
func (m *Metastore) serve(ctx context.Context, accepted net.Conn) {
	defer func() {
		if p := recover(); p != nil { // only this client's calls can have brought it about
			m.log.Error("a call to the metastore panicked", "client", accepted.RemoteAddr(), "panic", p, "stack", string(debug.Stack()))
		}
		_ = accepted.Close()
		m.mu.Lock()
		delete(m.open, accepted)
		m.mu.Unlock()
	}()
	conn := &moving{TCPConn: accepted.(*net.TCPConn)}
	buffers, protocols := protocol()
	transport, err := buffers.GetTransport(thrift.NewTSocketFromConnConf(conn, nil))
	if err != nil {
		return
	}
	p := protocols.GetProtocol(transport)
	for m.answer(ctx, conn, p) {
	}
}

// answer serves the next call, and reports whether there can be another.
func (m *Metastore) answer(ctx context.Context, conn *moving, p thrift.TProtocol) bool {
	conn.begin = true
	c := &call{TProtocol: p}
	defer c.free()
	ok, err := m.process.Process(context.WithValue(ctx, callKey{}, c), c, c)
	if err != nil {
		m.log.Debug("a call to the metastore failed", "client", conn.RemoteAddr(), "error", err)
	}
	// What was not read whole leaves the connection in the middle of a call; what an exception of the protocol answers has been read.
	_, excepted := errors.AsType[thrift.TApplicationException](err)
	return c.answered && (ok || excepted)
}

// processor serves the calls that service has and answers all others with unknown method.
func processor(s *service, log *slog.Logger) thrift.TProcessor {
	p := hms.NewThriftHiveMetastoreProcessor(s)
	for name, function := range p.ProcessorMap() {
		if served[name] {
			p.AddToProcessorMap(name, guard{function, name, log})
		} else {
			p.AddToProcessorMap(name, refusal(name))
		}
	}
	return p
}
