package runs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// logBytes is how much is kept of each end of a run's log.
const logBytes = 32 << 10

// runLog keeps what a run says: the beginning and the end, if it is much.
type runLog struct {
	mu         sync.Mutex
	head, tail []byte
	cut        int
}

// Write implements io.Writer.
func (l *runLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	room := min(logBytes-len(l.head), len(p))
	l.head, l.tail = append(l.head, p[:room]...), append(l.tail, p[room:]...)
	if more := len(l.tail) - logBytes; more > 0 {
		l.cut += more
		l.tail = append([]byte(nil), l.tail[more:]...)
	}
	return len(p), nil
}

func (l *runLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut == 0 {
		return string(l.head) + string(l.tail)
	}
	return strings.ToValidUTF8(fmt.Sprintf("%s\n... %d bytes are left out ...\n%s", l.head, l.cut, l.tail), "")
}

// both gives records to two handlers.
type both struct{ a, b slog.Handler }

// Enabled implements slog.Handler.
func (h both) Enabled(ctx context.Context, level slog.Level) bool {
	return h.a.Enabled(ctx, level) || h.b.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h both) Handle(ctx context.Context, r slog.Record) error {
	var errs []error
	for _, handler := range []slog.Handler{h.a, h.b} {
		if handler.Enabled(ctx, r.Level) {
			errs = append(errs, handler.Handle(ctx, r.Clone()))
		}
	}
	return errors.Join(errs...)
}

// WithAttrs implements slog.Handler.
func (h both) WithAttrs(attrs []slog.Attr) slog.Handler {
	return both{h.a.WithAttrs(attrs), h.b.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h both) WithGroup(name string) slog.Handler {
	return both{h.a.WithGroup(name), h.b.WithGroup(name)}
}

// logger writes to the process's log and to that of the run.
func logger(to *slog.Logger, log *runLog) *slog.Logger {
	return slog.New(both{to.Handler(), slog.NewTextHandler(log, nil)})
}
