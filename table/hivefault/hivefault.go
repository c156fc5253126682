// Package hivefault is a proxy before a Hive Metastore that spoils calls where a test says: a call is lost, or its answer is, or it comes
// late, or nobody is at the address for a while. Without faults it passes on what it reads.
//
// Goroutines: one accepts, one for each connection, one while nobody is at the address; Close ends them all.
package hivefault

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"maps"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"golang.org/x/sys/unix"
)

// Fault is what becomes of a call.
type Fault int

const (
	// None passes the call and its answer on.
	None Fault = iota
	// Lost cuts the connection; the metastore does not see the call.
	Lost
	// Unanswered has the metastore do what was asked, and cuts the connection instead of answering.
	Unanswered
	// Late passes the call on after Options.Late, whether or not the caller still waits.
	Late
	// Overtaken is Late, and cuts the connection at once.
	Overtaken
	// Away is Lost, cuts all other connections too, and refuses new ones for Options.Away.
	Away
)

func (f Fault) String() string {
	return [...]string{"none", "lost", "unanswered", "late", "overtaken", "away"}[f]
}

// Options are what New needs.
type Options struct {
	// Target is the metastore's host:port.
	Target string
	// Fault decides about a call by its name in thrift, as create_table. It is called for one call at a time. Nil is no fault.
	Fault func(call string) Fault
	// Cut, if it is set, is called before a connection is cut.
	Cut        func(call string, f Fault)
	Late, Away time.Duration
}

// Met is a call and its fault.
type Met struct {
	Call  string
	Fault Fault
}

// Proxy is a server. Close ends it.
type Proxy struct {
	opts     Options
	addr     string
	reserved int // a socket that keeps the port while nobody listens

	running, pending sync.WaitGroup // pending are the faults that are not over
	ended            chan struct{}  // closed when they are to end

	mu       sync.Mutex
	healed   bool
	met      map[Met]int
	listener net.Listener
	open     map[net.Conn]struct{}
}

// New starts to serve at a free port of the loopback interface.
func New(o Options) (*Proxy, error) {
	p := &Proxy{opts: o, addr: "127.0.0.1:0", ended: make(chan struct{}), met: map[Met]int{}, open: map[net.Conn]struct{}{}}
	if err := p.listen(); err != nil {
		return nil, err
	}
	var err error
	if p.reserved, err = reserve(p.listener.Addr().(*net.TCPAddr).Port); err != nil {
		_ = p.listener.Close()
		return nil, err
	}
	p.addr = p.listener.Addr().String()
	return p, nil
}

// listen begins to accept. p.mu is held, or nobody else has p.
func (p *Proxy) listen() (err error) {
	c := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) (err error) {
		if cerr := conn.Control(func(fd uintptr) { err = share(int(fd)) }); cerr != nil {
			return cerr
		}
		return err
	}}
	if p.listener, err = c.Listen(context.Background(), "tcp", p.addr); err != nil {
		return err
	}
	l := p.listener
	p.running.Go(func() { p.accept(l) })
	return nil
}

func share(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }

// reserve binds a socket that never listens: the port is nobody else's, and who connects to it is refused.
func reserve(port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, err
	}
	unix.CloseOnExec(fd)
	if err = share(fd); err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return fd, err
}

// Addr is host:port that it listens at.
func (p *Proxy) Addr() string { return p.addr }

// Met is how many calls a fault has met, by the call's name and the fault.
func (p *Proxy) Met() map[Met]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.met)
}

// Heal ends all faults: the calls that are late are passed on, and it returns when they have been answered and somebody is at the address.
func (p *Proxy) Heal() {
	p.mu.Lock()
	if !p.healed {
		close(p.ended)
	}
	p.healed = true
	p.mu.Unlock()
	p.pending.Wait()
}

// Close cuts the connections and waits for what is under way.
func (p *Proxy) Close() error {
	p.Heal()
	p.mu.Lock()
	err := p.listener.Close()
	p.cutAll()
	p.mu.Unlock()
	p.running.Wait()
	_ = unix.Close(p.reserved)
	return err
}

// cutAll cuts the connections; p.mu is held.
func (p *Proxy) cutAll() {
	for conn := range p.open {
		_ = conn.Close()
	}
}

func (p *Proxy) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.listener == l {
			p.open[conn] = struct{}{}
			p.running.Go(func() { p.serve(conn) })
		} else { // it came between the last accept and the end of the listener
			_ = conn.Close()
		}
		p.mu.Unlock()
	}
}

// serve passes on a connection's calls, one after the other.
func (p *Proxy) serve(conn net.Conn) {
	defer func() {
		p.mu.Lock()
		delete(p.open, conn)
		p.mu.Unlock()
		_ = conn.Close()
	}()
	metastore, err := net.Dial("tcp", p.opts.Target)
	if err != nil {
		return
	}
	defer metastore.Close()
	calls, answers := bufio.NewReader(conn), bufio.NewReader(metastore)
	for {
		name, call, err := read(calls)
		if err != nil || !p.pass(name, call, conn, metastore, answers) {
			return
		}
	}
}

// pass does to one call what is to be done, and reports whether the connection may go on.
func (p *Proxy) pass(name string, call []byte, conn, metastore net.Conn, answers *bufio.Reader) bool {
	f := p.draw(name)
	if f == Overtaken {
		p.cut(name, f)
		_ = conn.Close()
	}
	if f == Late || f == Overtaken {
		defer p.pending.Done()
		select {
		case <-time.After(p.opts.Late):
		case <-p.ended:
		}
	}
	if f == Lost || f == Away {
		p.cut(name, f)
		return false
	}
	if _, err := metastore.Write(call); err != nil {
		return false
	}
	_, answer, err := read(answers)
	if err != nil {
		return false
	}
	if f == Unanswered {
		p.cut(name, f)
		return false
	}
	_, err = conn.Write(answer)
	return err == nil
}

func (p *Proxy) cut(name string, f Fault) {
	if p.opts.Cut != nil {
		p.opts.Cut(name, f)
	}
}

// draw is the call's fault, which has begun.
func (p *Proxy) draw(name string) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.healed || p.opts.Fault == nil {
		return None
	}
	f := p.opts.Fault(name)
	if f == None {
		return f
	}
	p.met[Met{name, f}]++
	switch f {
	case Late, Overtaken:
		p.pending.Add(1)
	case Away:
		p.leave()
	}
	return f
}

// leave has nobody listen for a while. p.mu is held.
func (p *Proxy) leave() {
	if p.listener == nil {
		return // a call that came before is not answered either
	}
	_ = p.listener.Close()
	p.listener = nil
	p.cutAll()
	p.pending.Add(1)
	p.running.Go(func() {
		defer p.pending.Done()
		select {
		case <-time.After(p.opts.Away):
		case <-p.ended:
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if err := p.listen(); err != nil {
			panic(err) // the port is reserved
		}
	})
}

// read reads one message of the binary protocol, and gives the name of the call that it is, or answers.
func read(r *bufio.Reader) (name string, raw []byte, err error) {
	var copied bytes.Buffer
	p := thrift.NewTBinaryProtocolConf(thrift.NewStreamTransportR(io.TeeReader(r, &copied)), nil) // nothing follows that it could read too: clients wait
	ctx := context.Background()
	if name, _, _, err = p.ReadMessageBegin(ctx); err != nil {
		return "", nil, err
	}
	err = thrift.SkipDefaultDepth(ctx, p, thrift.STRUCT)
	return name, copied.Bytes(), err
}
