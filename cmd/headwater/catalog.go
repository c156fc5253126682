package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"

	"headwater/internal/builtin"
	"headwater/internal/config"
	"headwater/internal/state"
	"headwater/schema"
	"headwater/table"
	"headwater/table/dir"
	"headwater/table/hive"
	"headwater/table/metastore"
)

// catalog is what the files say of the tables and, from there, what the Hive Metastore is told: the one that the pipeline names or,
// without one, our own. It remembers what it has told, so that what does not change costs no call.
type catalog struct {
	*dir.Catalog
	hive     *hive.Catalog
	calls    table.Catalog        // what is asked of hive goes this way
	embedded *metastore.Metastore // nil if somebody else's is named

	mu   sync.Mutex
	told map[table.Name]*told
	lost int64 // how many calls' fate was not known when told was last forgotten
}

// told is what the metastore knows of a table, because we said so.
type told struct {
	schema     schema.Type
	complete   table.Day
	partitions map[table.Day]string
}

func openCatalog(ctx context.Context, cfg *config.Pipeline, home *state.Dir, l layers, log *slog.Logger) (c *catalog, err error) {
	c = &catalog{Catalog: l.catalog, told: map[table.Name]*told{}}
	o := hive.Options{Config: cfg.Hive, Location: builtin.Location(cfg.Lake.Tables, cfg.Hive.S3Scheme), Layout: l.adopted.Layout}
	if len(o.Config.URIs) == 0 {
		if c.embedded, err = listenHive(cfg.Listen.Hive, metastore.Config{Path: home.Path("state.db"), PostgreSQL: cfg.State.Reveal(), Warehouse: o.Location}, log); err != nil {
			return nil, err
		}
		log.Info("serving the Hive Metastore", "address", c.embedded.Addr())
		o.Config.URIs, o.Own = []string{"thrift://" + c.embedded.Addr()}, true
	}
	if c.hive, err = hive.Open(o); err != nil {
		return nil, errors.Join(err, c.close())
	}
	c.calls = c.hive
	if c.embedded == nil {
		return c, nil // it may hang, see register
	}
	if err := c.tell(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("registering the tables: %w", err), c.close())
	}
	return c, nil
}

// register tells somebody else's metastore what it lacks: it may be new, or a process was killed between a file and its registration. Ours
// knows since it was opened.
func (p *pipeline) register(ctx context.Context) {
	if p.catalog == nil || p.catalog.embedded != nil {
		return
	}
	end, err := p.turns.alone(ctx) // what a job registers must not be replaced by what was there before it
	if err != nil {
		return
	}
	defer end()
	if err := p.catalog.tell(ctx); err != nil && ctx.Err() == nil {
		p.log.Warn("the metastore may lack tables; they are registered when they are serialized next", "error", err)
	}
}

// listenHive serves at the address; a default that is taken moves to a free port.
func listenHive(a config.Address, cfg metastore.Config, log *slog.Logger) (*metastore.Metastore, error) {
	cfg.Addr = a.Addr
	m, err := metastore.Open(cfg, log)
	if err != nil && !a.Written && errors.Is(err, syscall.EADDRINUSE) {
		cfg.Addr = freePort(a.Addr)
		m, err = metastore.Open(cfg, log)
	}
	if err != nil {
		return nil, fmt.Errorf("serving the Hive Metastore at %s (listen.hive): %w", a.Addr, err)
	}
	return m, nil
}

// tell registers all tables that there are files of.
func (c *catalog) tell(ctx context.Context) error {
	all, err := c.Tables(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range all {
		ps, err := c.Partitions(ctx, t.Name)
		if err == nil {
			err = errors.Join(c.Ensure(ctx, t), c.SetPartitions(ctx, t.Name, ps))
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// forget has everything told anew, and reports so, if there were calls of which nobody knows what became: a metastore may have done them late, over what it
// was told after them.
func (c *catalog) forget() bool {
	lost := c.hive.Lost()
	c.mu.Lock()
	defer c.mu.Unlock()
	if lost != c.lost {
		clear(c.told)
	}
	forgotten := lost != c.lost
	c.lost = lost
	return forgotten
}

// distrust has everything told anew: somebody may have changed what the metastore was told.
func (c *catalog) distrust() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.told)
}

// Ensure implements table.Catalog.
func (c *catalog) Ensure(ctx context.Context, t table.Table) error {
	if err := c.Catalog.Ensure(ctx, t); err != nil {
		return err
	}
	whole, err := c.Table(ctx, t.Name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	known := c.told[t.Name]
	c.mu.Unlock()
	if known != nil && schema.Equal(known.schema, whole.Schema) && known.complete == whole.CompleteThrough {
		return nil
	}
	if err := c.calls.Ensure(ctx, whole); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known = cmp.Or(c.told[t.Name], &told{partitions: map[table.Day]string{}})
	known.schema, known.complete = whole.Schema, whole.CompleteThrough
	c.told[t.Name] = known
	return nil
}

// SetPartitions implements table.Catalog.
func (c *catalog) SetPartitions(ctx context.Context, n table.Name, ps []table.Partition) error {
	if err := c.Catalog.SetPartitions(ctx, n, ps); err != nil {
		return err
	}
	mark := func(p table.Partition) string { return fmt.Sprint(p.Key, " ", p.Run, " ", p.Rows, " ", p.Bytes) }
	c.mu.Lock()
	known := c.told[n]
	var news []table.Partition
	for _, p := range ps {
		if known == nil || known.partitions[p.Day] != mark(p) {
			news = append(news, p)
			if known != nil {
				delete(known.partitions, p.Day) // until it is known what the metastore has
			}
		}
	}
	c.mu.Unlock()
	if len(news) == 0 {
		return nil
	}
	if err := c.calls.SetPartitions(ctx, n, news); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known != nil {
		for _, p := range news {
			known.partitions[p.Day] = mark(p)
		}
	}
	return nil
}

// DropPartitions implements table.Catalog.
func (c *catalog) DropPartitions(ctx context.Context, n table.Name, days []table.Day) error {
	c.mu.Lock()
	if known := c.told[n]; known != nil {
		for _, d := range days {
			delete(known.partitions, d)
		}
	}
	c.mu.Unlock()
	return errors.Join(c.Catalog.DropPartitions(ctx, n, days), c.calls.DropPartitions(ctx, n, days))
}

// Drop implements table.Catalog.
func (c *catalog) Drop(ctx context.Context, n table.Name) error {
	c.mu.Lock()
	delete(c.told, n)
	c.mu.Unlock()
	return errors.Join(c.Catalog.Drop(ctx, n), c.calls.Drop(ctx, n))
}

// address is that of the metastore that this process serves, if it does.
func (c *catalog) address() string {
	if c == nil || c.embedded == nil {
		return ""
	}
	return c.embedded.Addr()
}

func (c *catalog) close() error {
	var errs []error
	if c.hive != nil {
		errs = append(errs, c.hive.Close())
	}
	if c.embedded != nil {
		errs = append(errs, c.embedded.Close())
	}
	return errors.Join(errs...)
}
