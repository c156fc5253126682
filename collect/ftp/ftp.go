// Package ftp reads files of FTP servers, with TLS or without, as package file reads those of this machine.
//
// What enters: the files of one server that match a glob. What leaves: their items, as docs/format/file-streams.md has it. This package has
// the connections; what is read, and what is new, is decided by package file. Rules: docs/sources/ftp.md.
//
// Invariants:
//  1. A file has ended where all its bytes have come, or, if it has no SIZE, where the server says so: never where a connection ends.
//  2. No more connections are open than Config.Connections, and for each of them one for data.
//  3. A connection that broke, or on which an answer may be left over, is not used again; the others are.
//
// Goroutines of Run: those of package file.
package ftp

import (
	"log/slog"
	"net"

	"headwater/collect/file"
)

// source is what connects to one server.
type source struct {
	c    Config
	base string
	at   file.Address
	log  *slog.Logger
	// wrap, if not nil, is what a test does to connections for data.
	wrap func(net.Conn) net.Conn
}

// New makes a source of a valid configuration; a relative path of CA is relative to the folder base.
func New(c Config, base string, log *slog.Logger) *file.Source {
	return newSource(c, base, log).files()
}

func newSource(c Config, base string, log *slog.Logger) *source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	port := "21"
	if c.TLS == tlsImplicit {
		port = "990"
	}
	at, err := file.ParseAddress(c.URL, "ftp", port)
	if err != nil {
		panic(err) // it is not valid
	}
	return &source{c: c, base: base, at: at, log: log}
}

func (s *source) files() *file.Source {
	return file.NewElsewhere(file.Elsewhere{Path: s.at.Path, Origin: s.at.Origin, Dial: s.dial}, s.c.Reading, s.log)
}
