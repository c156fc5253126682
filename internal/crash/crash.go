// Package crash kills this process at a named point, so that tests can check that a restart finds out what is
// true wherever the process died. Without HEADWATER_CRASH in the environment a point costs one comparison.
//
// HEADWATER_CRASH=land.after-put dies at the first pass of that point, land.after-put:3 at the third. HEADWATER_STOP stops
// the process there instead, as SIGSTOP or a paused machine would, until it gets SIGCONT: it is then the writer that believes
// nothing has happened. HEADWATER_BLOCK has the goroutine that gets there stay there for ever, as one does that waits for itself: the process goes on and
// that part of it is wedged.
package crash

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Points lists every point in the order a record meets them. Tests walk this list, and a test fails when a point of
// the list is never passed or a passed point is not in the list.
var Points = []string{
	"collect.before-produce",   // an item was read, its record not handed to Kafka
	"collect.after-produce",    // the broker has acknowledged the record, the source does not know it
	"collect.before-snapshot",  // the cursor is about to be written
	"collect.after-snapshot",   // the cursor is written
	"collect.after-quarantine", // an oversized item is stored, its record not produced
	"kafka.before-trim",        // what has landed is about to be deleted from the topic
	"kafka.after-trim",         // it is deleted
	"lake.after-temp",          // a temporary file is whole, the object does not exist
	"lake.after-link",          // the object has its name, its folder is not synced
	"land.after-spool",         // records are buffered on disk, no object exists
	"land.before-intent",       // with Wallclock: a rotation has begun, and nothing of it is noted
	"land.after-intent",        // what is about to be put is noted with the committed offset
	"land.before-put",          // a rotation has begun
	"land.after-put",           // an object of a rotation exists, others of it may not, nothing is committed
	"land.before-commit",       // every object of a rotation exists
	"land.after-commit",        // the offsets are committed
	"serialize.before-version", // what a day brings of new columns is decided and not written
	"serialize.after-version",  // it is written, and nothing of the day is
	"serialize.after-write",    // a table partition's file is written and not published
	"table.before-put",         // the publish is about to replace the partition
	"table.after-put",          // the partition is replaced and not registered
	"table.before-commit",      // with publish: swap: the files are there, and no reader knows of them
	"table.after-commit",       // they are what is read
	"table.after-register",     // it is registered
	"serialize.between-tables", // the raw table is published, the flat table is not
	"runs.after-plan",          // by schedule: runs are planned and none has begun
	"runs.after-claim",         // a run is this process's, and nothing is done
	"runs.before-finish",       // it is done, and not written down
	"runs.after-finish",        // it is written down
}

// plan is what a variable asks for: the point's name and how many passes of it are left.
type plan struct {
	name string
	left atomic.Int64
}

func read(variable string) *plan {
	name, count, found := strings.Cut(os.Getenv(variable), ":")
	p := &plan{name: name}
	p.left.Store(1)
	if found {
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil || n < 1 {
			panic(fmt.Sprintf("%s=%s:%s: the count after the colon must be a positive number", variable, name, count))
		}
		p.left.Store(n)
	}
	return p
}

// reached reports the pass that was asked for, once.
func (p *plan) reached(name string) bool { return p.name == name && p.left.Add(-1) == 0 }

// armedPlans are those of the environment.
type armedPlans struct{ kill, stop, block *plan }

// armed reads the environment at the first point that is passed.
var armed = sync.OnceValue(func() armedPlans {
	return armedPlans{read("HEADWATER_CRASH"), read("HEADWATER_STOP"), read("HEADWATER_BLOCK")}
})

// Point kills the process with SIGKILL, as a power cut or the kernel's OOM killer would end it, if name is armed.
func Point(name string) {
	plans := armed()
	if plans.block.reached(name) {
		select {}
	}
	if plans.kill.reached(name) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal may take effect a moment later; nothing after the point may run
	}
	if plans.stop.reached(name) {
		woken := make(chan os.Signal, 1)
		signal.Notify(woken, syscall.SIGCONT)
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		<-woken // the stop may take effect a moment later too
		signal.Stop(woken)
	}
}
