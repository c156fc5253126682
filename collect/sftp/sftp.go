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
	"log/slog"

	"headwater/collect/file"
)

// source is what connects to one server.
type source struct {
	c    Config
	base string
	at   file.Address
	log  *slog.Logger
}

// New makes a source of a valid configuration; relative paths of keys and known hosts are relative to the folder base.
func New(c Config, base string, log *slog.Logger) *file.Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	at, err := file.ParseAddress(c.URL, "sftp", "22")
	if err != nil {
		panic(err) // it is not valid
	}
	s := &source{c: c, base: base, at: at, log: log}
	return file.NewElsewhere(file.Elsewhere{Path: at.Path, Origin: at.Origin, Dial: s.dial}, c.Reading, log)
}
