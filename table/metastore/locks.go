package metastore

import (
	"context"
	"database/sql"
	"strings"

	hms "github.com/beltran/gohive/hive_metastore"
)

// lockTimeout is how many seconds a lock lives without a heartbeat: Hive's own default of hive.txn.timeout.
const lockTimeout = 300

// lock is a lock that is held or waited for.
type lock struct {
	id                  int64
	request             *hms.LockRequest
	acquired, heartbeat int64 // seconds since 1970; acquired is 0 while it waits
}

// locks are those that have not expired, in the order in which they were asked for.
func (t transaction) locks() (out []lock, now int64, err error) {
	if now, err = t.seconds(); err != nil {
		return nil, 0, err
	}
	err = t.each(`SELECT id, object, acquired, heartbeat FROM hive_locks WHERE heartbeat > ? ORDER BY id`, []any{now - lockTimeout}, func(scan scanner) error {
		l := lock{request: hms.NewLockRequest()}
		var data sql.RawBytes
		if err := scan(&l.id, &data, &l.acquired, &l.heartbeat); err != nil {
			return meta("%v", err)
		}
		err := t.decode(l.request, data)
		out = append(out, l)
		return err
	})
	return out, now, err
}

// blocks reports whether a lock that was asked for before another must be gone before that is granted. Waiting ones block too, so that
// nobody waits for ever.
func (l lock) blocks(later *hms.LockRequest) bool {
	for _, a := range l.request.Component {
		for _, b := range later.Component {
			if overlap(a, b) && exclude(a, b) {
				return true
			}
		}
	}
	return false
}

// overlap reports whether the two are of one thing, or one's contains the other's.
func overlap(a, b *hms.LockComponent) bool {
	same := func(x, y *string) bool { return x == nil || y == nil || normal(*x) == normal(*y) }
	samePartition := a.Partitionname == nil || b.Partitionname == nil || *a.Partitionname == *b.Partitionname
	return normal(a.Dbname) == normal(b.Dbname) && same(a.Tablename, b.Tablename) && samePartition
}

// exclude reports whether the two cannot be held at once. Readers share with readers and with one writer that lets them. A reader of
// a database only wants it not to be dropped, which somebody alone in one of its tables does not do.
func exclude(a, b *hms.LockComponent) bool {
	alone := func(c *hms.LockComponent) bool { return c.Type == hms.LockType_EXCLUSIVE }
	reads := func(c *hms.LockComponent) bool { return c.Type == hms.LockType_SHARED_READ }
	keeps := func(c, table *hms.LockComponent) bool {
		return reads(c) && c.Tablename == nil && alone(table) && table.Tablename != nil
	}
	if keeps(a, b) || keeps(b, a) {
		return false
	}
	return alone(a) || alone(b) || !reads(a) && !reads(b)
}

// settle grants the lock of the id if nothing blocks it, and counts as its heartbeat.
func (t transaction) settle(id int64) (*hms.LockResponse, error) {
	all, now, err := t.locks()
	if err != nil {
		return nil, err
	}
	for i, l := range all {
		if l.id != id {
			continue
		}
		if l.acquired == 0 && !blocked(all[:i], l.request) {
			l.acquired = now
		}
		_, err := t.exec(`UPDATE hive_locks SET acquired = ?, heartbeat = ? WHERE id = ?`, l.acquired, now, id)
		return &hms.LockResponse{Lockid: id, State: l.state()}, err
	}
	return nil, &hms.NoSuchLockException{Message: "No such lock: it was never asked for, is released, or has expired without a heartbeat"}
}

func blocked(earlier []lock, request *hms.LockRequest) bool {
	for _, l := range earlier {
		if l.blocks(request) {
			return true
		}
	}
	return false
}

func (l lock) state() hms.LockState {
	if l.acquired > 0 {
		return hms.LockState_ACQUIRED
	}
	return hms.LockState_WAITING
}

func noTransaction(id *int64) error {
	if id == nil || *id == 0 { // as some clients write none
		return nil
	}
	return &hms.NoSuchTxnException{Message: "No such transaction: transactional tables are not served"}
}

// Lock asks for all of the request's components at once. Who gets WAITING asks with CheckLock until it is ACQUIRED.
func (s *service) Lock(ctx context.Context, r *hms.LockRequest) (out *hms.LockResponse, err error) {
	if err := noTransaction(r.Txnid); err != nil {
		return nil, err
	}
	if len(r.Component) == 0 {
		return nil, meta("a lock needs a component")
	}
	err = s.objects.do(ctx, func(tx transaction) error {
		now, err := tx.seconds()
		if err != nil {
			return err
		}
		if _, err := tx.exec(`DELETE FROM hive_locks WHERE heartbeat <= ?`, now-lockTimeout); err != nil {
			return err
		}
		data, err := tx.encode(r)
		if err != nil {
			return err
		}
		id, err := tx.number(`INSERT INTO hive_locks (object, acquired, heartbeat) VALUES (?, 0, ?) RETURNING id`, data, now)
		if err != nil {
			return err
		}
		out, err = tx.settle(id)
		return err
	})
	return out, err
}

func (s *service) CheckLock(ctx context.Context, r *hms.CheckLockRequest) (out *hms.LockResponse, err error) {
	if err := noTransaction(r.Txnid); err != nil {
		return nil, err
	}
	err = s.objects.do(ctx, func(tx transaction) error {
		out, err = tx.settle(r.Lockid)
		return err
	})
	return out, err
}

func (s *service) Unlock(ctx context.Context, r *hms.UnlockRequest) error {
	return s.objects.do(ctx, func(tx transaction) error {
		n, err := tx.exec(`DELETE FROM hive_locks WHERE id = ?`, r.Lockid)
		if err == nil && n == 0 {
			err = &hms.NoSuchLockException{Message: "No such lock: it is released or has expired without a heartbeat"}
		}
		return err
	})
}

func (s *service) Heartbeat(ctx context.Context, r *hms.HeartbeatRequest) error {
	if err := noTransaction(r.Txnid); err != nil || r.Lockid == nil {
		return err
	}
	_, err := s.CheckLock(ctx, &hms.CheckLockRequest{Lockid: *r.Lockid})
	return err
}

func (s *service) ShowLocks(ctx context.Context, r *hms.ShowLocksRequest) (*hms.ShowLocksResponse, error) {
	out := &hms.ShowLocksResponse{Locks: []*hms.ShowLocksResponseElement{}}
	err := s.objects.look(ctx, func(tx transaction) error {
		all, _, err := tx.locks()
		for _, l := range all {
			for _, c := range l.request.Component {
				if shown(c, r) {
					out.Locks = append(out.Locks, l.show(c))
				}
			}
		}
		return err
	})
	return out, err
}

// shown reports whether the request asks for the component; what it leaves out is any.
func shown(c *hms.LockComponent, r *hms.ShowLocksRequest) bool {
	wanted := func(want, is *string) bool { return want == nil || is != nil && strings.EqualFold(normal(*want), *is) }
	return wanted(r.Dbname, &c.Dbname) && wanted(r.Tablename, c.Tablename) && wanted(r.Partname, c.Partitionname)
}

func (l lock) show(c *hms.LockComponent) *hms.ShowLocksResponseElement {
	e := &hms.ShowLocksResponseElement{
		Lockid: l.id, Dbname: c.Dbname, Tablename: c.Tablename, Partname: c.Partitionname, State: l.state(), Type: c.Type,
		Lastheartbeat: l.heartbeat * 1000, User: l.request.User, Hostname: l.request.Hostname,
	}
	if l.acquired > 0 {
		e.Acquiredat = new(l.acquired * 1000)
	}
	return e
}
