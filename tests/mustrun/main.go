// Command mustrun reads what go test -json prints, shows what a person needs of it, and fails when a test failed or, with CI=true, when a
// test of its list was skipped or did not run: a check that quietly does nothing is worse than none.
//
// The list has a package and a test a line; # begins a comment.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -json ./... | mustrun LIST")
		os.Exit(2)
	}
	list, err := os.ReadFile(os.Args[1])
	if err == nil {
		err = run(os.Stdin, os.Stdout, string(list), os.Getenv("CI") == "true")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mustrun:", err)
		os.Exit(1)
	}
}

// event is a line of go test -json.
type event struct {
	Action, Package, ImportPath, Test, Output string
}

// tally is what became of the tests.
type tally struct {
	// result has pass, fail or skip by package and test.
	result map[string]string
	// output is that of the tests that have not ended.
	output map[string][]string
	// broken are packages that failed as a whole.
	broken []string
}

func run(events io.Reader, out io.Writer, list string, strict bool) error {
	t := tally{map[string]string{}, map[string][]string{}, nil}
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				e = event{Action: "output", Output: string(line)} // of the go command itself
			}
			t.add(e, out)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the tests' output: %w", err)
		}
	}
	return t.close(out, list, strict)
}

func (t *tally) add(e event, out io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "build-fail":
		t.broken = append(t.broken, e.ImportPath)
	case "output":
		if e.Test == "" {
			fmt.Fprint(out, e.Output)
			return
		}
		t.output[key] = append(t.output[key], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			if e.Action == "fail" {
				t.broken = append(t.broken, e.Package)
			}
			return
		}
		t.result[key] = e.Action
		if e.Action != "pass" {
			fmt.Fprint(out, strings.Join(t.output[key], ""))
		}
		delete(t.output, key)
	}
}

// close says what was not run and what failed.
func (t *tally) close(out io.Writer, list string, strict bool) error {
	for _, key := range unfinished(t.output) {
		fmt.Fprintf(out, "--- UNFINISHED: %s\n%s", key, strings.Join(t.output[key], ""))
	}
	count := map[string]int{}
	for _, result := range t.result {
		count[result]++
	}
	missing := t.missing(list)
	for _, m := range missing {
		fmt.Fprintf(out, "must run: %s\n", m)
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"])
	switch {
	case count["fail"] > 0 || len(t.broken) > 0:
		return fmt.Errorf("%d tests failed, in %s", count["fail"], strings.Join(slices.Compact(slices.Sorted(slices.Values(t.broken))), ", "))
	case count["pass"] == 0:
		return fmt.Errorf("no test ran")
	case strict && len(missing) > 0:
		return fmt.Errorf("%d tests of the list did not pass: see what they were skipped for above", len(missing))
	}
	return nil
}

func unfinished(output map[string][]string) []string {
	var keys []string
	for key := range output {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// missing lists the tests of the list that did not pass.
func (t *tally) missing(list string) []string {
	var out []string
	for line := range strings.Lines(list) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		key := strings.Join(fields, " ")
		switch result := t.result[key]; result {
		case "pass":
		case "":
			out = append(out, key+" was not run")
		default:
			out = append(out, key+": "+result)
		}
	}
	return out
}
