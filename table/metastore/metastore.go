// Package metastore is a Hive Metastore inside the process: it answers the metastore's thrift protocol and keeps its objects in SQLite.
//
// What enters: the calls of Spark, Hive, Trino and of table/hive. What leaves: the databases, tables and partitions that they made,
// as they made them. It knows nothing of Headwater's tables: those are registered through the same door as everybody's, and can be
// again if the file is lost. It reads and writes no table's files: a managed table that is dropped leaves its files behind, and the
// log says so.
//
// Goroutines: one accepts, one for each connection; Close ends them all. The contract is hive_metastore.thrift of Apache Hive; calls that
// are not served are answered as an old metastore answers newer ones: unknown method.
//
// Invariants:
//  1. A call is one transaction: it has happened whole, and is on disk, before it is answered, or not at all.
//  2. An object comes back with every field it came with.
//  3. A client that sends anything at all costs its own connection and a bounded amount of memory, no more.
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
	// Path is the SQLite file; it is created if need be, its folder is not. One process at a time may have it.
	Path string
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
	objects, err := openObjects(cfg.Path, cfg.Warehouse)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the metastore's database %s (it can be deleted: it is made again from the tables): %w", cfg.Path, err), listener.Close())
	}
	m := &Metastore{listener: listener, objects: objects, process: processor(&service{objects: objects, log: log, started: time.Now()}), log: log, open: map[net.Conn]struct{}{}}
	m.running.Go(m.accept)
	return m, nil
}

// Addr is host:port that it listens at.
func (m *Metastore) Addr() string { return m.listener.Addr().String() }

// Close cuts the connections, waits for the calls that are under way and closes the database.
func (m *Metastore) Close() error {
	err := m.listener.Close()
	m.mu.Lock()
	m.closed = true
	for conn := range m.open {
		_ = conn.Close()
	}
	m.mu.Unlock()
	m.running.Wait()
	return errors.Join(err, m.objects.close())
}

func (m *Metastore) accept() {
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
			m.running.Go(func() { m.serve(conn) })
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
	return thrift.NewTBufferedTransportFactory(64 << 10), thrift.NewTBinaryProtocolFactoryConf(cfg)
}

// serve answers a connection's calls, one after the other, until it ends.
func (m *Metastore) serve(conn net.Conn) {
	defer func() {
		if p := recover(); p != nil { // only this client's calls can have brought it about
			m.log.Error("a call to the metastore panicked", "client", conn.RemoteAddr(), "panic", p, "stack", string(debug.Stack()))
		}
		_ = conn.Close()
		m.mu.Lock()
		delete(m.open, conn)
		m.mu.Unlock()
	}()
	buffers, protocols := protocol()
	transport, err := buffers.GetTransport(thrift.NewTSocketFromConnConf(conn, nil))
	if err != nil {
		return
	}
	p := protocols.GetProtocol(transport)
	for {
		ok, err := m.process.Process(context.Background(), p, &answers{TProtocol: p})
		if err != nil {
			m.log.Debug("a call to the metastore failed", "client", conn.RemoteAddr(), "error", err)
		}
		// What was not read whole leaves the connection in the middle of a call; an unknown method has been read.
		if unknown, no := errors.AsType[thrift.TApplicationException](err); !ok && (!no || unknown.TypeId() != thrift.UNKNOWN_METHOD) {
			return
		}
	}
}

// processor serves the calls that service has and answers all others with unknown method.
func processor(s *service) thrift.TProcessor {
	p := hms.NewThriftHiveMetastoreProcessor(s)
	for name := range p.ProcessorMap() {
		if !served[name] {
			delete(p.ProcessorMap(), name)
		}
	}
	return p
}
