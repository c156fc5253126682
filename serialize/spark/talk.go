package spark

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"headwater/schema"
)

// talk is the conversation with the program: an io.Writer of what it prints, that answers it.
type talk struct {
	decider Decider
	log     *slog.Logger
	in      io.WriteCloser
	// end ends the program, because of the error.
	end func(error)

	line    []byte
	tail    tail
	result  *Result
	failure *Failure
}

// message is one line of the program; one field of it is set.
type message struct {
	Progress string          `json:"progress"`
	Counts   *[]Count        `json:"counts"`
	Bad      *Record         `json:"bad"`
	Schema   json.RawMessage `json:"schema"`
	Made     *Result         `json:"made"`
	Error    *Failure        `json:"error"`
}

// mark begins the lines that are messages; others are what Spark and Python print.
const mark = "headwater {"

// Write implements io.Writer.
func (t *talk) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		t.line = append(t.line, line...)
		if rest = after; !whole {
			break
		}
		if err := t.take(t.line); err != nil {
			t.end(err)
			return 0, err
		}
		t.line = t.line[:0]
	}
	return len(p), nil
}

func (t *talk) take(line []byte) error {
	if !bytes.HasPrefix(line, []byte(mark)) {
		_, _ = t.tail.Write(append(bytes.Clone(line), '\n')) // it never fails
		return nil
	}
	var m message
	if err := json.Unmarshal(line[len(mark)-1:], &m); err != nil {
		return fmt.Errorf("of Spark comes what tables of Headwater cannot have: %w", err)
	}
	switch {
	case m.Counts != nil:
		return answer(t, t.decider.Counted)(*m.Counts)
	case m.Bad != nil:
		return t.decider.LeftOut(*m.Bad)
	case m.Schema != nil:
		var typ schema.Type
		if err := json.Unmarshal(m.Schema, &typ); err != nil {
			return fmt.Errorf("of the types that Spark has found: %w", err)
		}
		return answer(t, t.decider.Inferred)(typ)
	case m.Made != nil:
		t.result = m.Made
		return t.in.Close()
	case m.Error != nil:
		t.failure = m.Error
		return t.in.Close()
	}
	t.log.Info("Spark is at work", "progress", m.Progress)
	return nil
}

// answer asks the decider and tells the program.
func answer[Q, A any](t *talk, ask func(Q) (A, error)) func(Q) error {
	return func(question Q) error {
		a, err := ask(question)
		if err != nil {
			return err
		}
		text, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("encoding an answer for Spark: %w", err)
		}
		if _, err := t.in.Write(append(text, '\n')); err != nil {
			return fmt.Errorf("answering Spark: %w", err)
		}
		return nil
	}
}

// tail keeps the last lines of what is written into it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// tailBytes is how many bytes it keeps.
const tailBytes = 16 << 10

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if more := len(t.text) - tailBytes; more > 0 {
		t.text = append(t.text[:0], t.text[more:]...)
	}
	return len(p), nil
}

// telling is the line that says most of why a program has ended: the last that names an error, or else the last.
func (t *tail) telling() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, named := "it has said nothing", ""
	for line := range strings.Lines(string(t.text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "at ") {
			continue
		}
		last = line
		if strings.Contains(line, "Exception") || strings.Contains(line, "Error") {
			named = line
		}
	}
	if named != "" {
		return named
	}
	return last
}

// firstError is the first line that Spark has logged as an error, empty if there is none.
func (t *tail) firstError() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range strings.Lines(string(t.text)) {
		if _, said, found := strings.Cut(line, " ERROR "); found {
			return strings.TrimSpace(said)
		}
	}
	return ""
}
