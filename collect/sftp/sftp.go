// Package sftp reads files of SFTP servers as package file reads those of this machine.
//
// What enters: the files of one server that match a glob. What leaves: their items, as docs/format/file-streams.md has it. This package has
// the connection; what is read, and what is new, is decided by package file. Rules: docs/sources/sftp.md.
//
// Invariants:
//  1. A server is not told a password, nor read from, before its key is found among those that are trusted.
//  2. A connection on which nothing comes for Config.Timeout is dead: everything that waits for it fails, and the Run ends.
//
// Goroutines of Run: those of package file; one that asks the server whether it is there; those of the SSH connection. All end
// before Run returns.
package sftp

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"headwater/collect"
	"headwater/collect/file"
	"headwater/internal/retry"
)

// Source reads the files of one server.
type Source struct {
	c     Config
	base  string
	at    file.Address
	log   *slog.Logger
	files *file.Source
	// rest is until when the server is left alone, because it has refused the user; losing it costs one more refusal.
	rest time.Time
}

// New makes a source; relative paths of keys and known hosts are relative to the folder base.
func New(c Config, base string, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	at, err := file.ParseAddress(c.URL, "sftp", "22")
	if err != nil {
		panic(err) // it was validated
	}
	s := &Source{c: c, base: base, at: at, log: log}
	s.files = file.NewElsewhere(file.Elsewhere{Path: at.Path, Origin: at.Origin, Dial: s.dial}, c.Reading, log)
	return s
}

// Run implements collect.Source. A server that has refused the user is asked again after some minutes: many lock out who
// asks more often.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) error {
	if !once {
		if err := retry.Wait(ctx, time.Until(s.rest)); err != nil {
			return err
		}
	}
	return s.files.Run(ctx, out, once)
}

// refused notes that the server does not let the user in.
func (s *Source) refused() {
	s.rest = time.Now().Add(4*time.Minute + rand.N(2*time.Minute))
}

var _ collect.Source = (*Source)(nil)
