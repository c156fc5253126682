package laketest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"headwater/lake"
)

const (
	racers      = 8
	raceKeys    = 40
	raceCounts  = 12
	raceSwaps   = 12
	pageSize    = 1 << 20
	racerEnv    = "HEADWATER_LAKETEST_RACER"
	locationEnv = "HEADWATER_LAKETEST_LOCATION"
)

// result is what one racer says it did.
type result struct {
	// Won has the keys that this racer created.
	Won []string
	// Counted is how often it raised the counter.
	Counted int
}

// Main is the body of TestMain for a package that calls RaceProcesses: in a process that RaceProcesses started it races
// and exits, otherwise it runs the tests. open opens a location that the test chose.
func Main(m *testing.M, open func(location string) (lake.Store, error)) {
	id := os.Getenv(racerEnv)
	if id == "" {
		os.Exit(m.Run())
	}
	if err := raceProcess(id, open); err != nil {
		fmt.Fprintf(os.Stderr, "racer %s: %v\n", id, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func raceProcess(id string, open func(location string) (lake.Store, error)) error {
	s, err := open(os.Getenv(locationEnv))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // the start signal is the end of the input
		return err
	}
	r, err := race(context.Background(), s, id)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// Race lets 8 goroutines compete over one Store: each key is created by exactly one, a counter loses no step, and whoever
// reads during a replacement sees the old object or the new one.
func Race(t *testing.T, s lake.Store) {
	judge(t, s, func(id string) (result, error) { return race(t.Context(), s, id) })
}

// RaceProcesses is Race with 8 processes, each with its own Store of the same location. They are this test binary,
// started again: its TestMain must call Main.
func RaceProcesses(t *testing.T, location string, open func(location string) (lake.Store, error)) {
	s, err := open(location)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var ready sync.WaitGroup
	ready.Add(racers)
	judge(t, s, func(id string) (result, error) {
		isReady := sync.OnceFunc(ready.Done)
		defer isReady()
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = append(os.Environ(), racerEnv+"="+id, locationEnv+"="+location)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdin, inErr := cmd.StdinPipe()
		stdout, outErr := cmd.StdoutPipe()
		if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
			return result{}, err
		}
		if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err == nil {
			isReady()
			ready.Wait()
		}
		stdin.Close()
		var r result
		decodeErr := json.NewDecoder(stdout).Decode(&r)
		if err := errors.Join(decodeErr, cmd.Wait()); err != nil {
			return result{}, fmt.Errorf("%w: %s", err, stderr.String())
		}
		return r, nil
	})
}

// judge runs the racers, reads while they write, and compares what they say with what is there.
func judge(t *testing.T, s lake.Store, racer func(id string) (result, error)) {
	put(t, s, counterKey, []byte("0"))
	put(t, s, pageKey, page("start"))
	results := make([]result, racers)
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() { results[i], errs[i] = racer(strconv.Itoa(i)) })
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	polls, pages := 0, map[string]bool{}
	for running := true; running; polls++ {
		select {
		case <-done:
			running = false
		default:
		}
		pages[checkPage(t, s)] = true
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d reads saw %d versions of the replaced object", polls, len(pages))
	judgeWinners(t, s, results)
	steps := 0
	for _, r := range results {
		steps += r.Counted
	}
	if got := get(t, s, counterKey); got != strconv.Itoa(steps) || steps != racers*raceCounts {
		t.Errorf("the counter reads %s after %d successes of %d", got, steps, racers*raceCounts)
	}
}

func judgeWinners(t *testing.T, s lake.Store, results []result) {
	winners := map[string]string{}
	for i, r := range results {
		for _, key := range r.Won {
			if other, taken := winners[key]; taken {
				t.Errorf("%s was created by racers %s and %d", key, other, i)
			}
			winners[key] = strconv.Itoa(i)
		}
	}
	stored := map[string]string{}
	for _, o := range list(t, s, "race/", "") {
		stored[o.Key] = get(t, s, o.Key)
	}
	if len(stored) != raceKeys || !maps.Equal(winners, stored) {
		t.Errorf("the racers won %v, the store holds %v", winners, stored)
	}
}

const (
	counterKey = "table/year=2026/counter"
	pageKey    = "table/year=2026/page"
)

// page is a large object whose lines all say who wrote it.
func page(writer string) []byte {
	line := fmt.Sprintf("%-15s\n", writer)
	return bytes.Repeat([]byte(line), pageSize/len(line))
}

// checkPage reads the page and returns its first line.
func checkPage(t *testing.T, s lake.Store) string {
	t.Helper()
	data := []byte(get(t, s, pageKey))
	if len(data) != pageSize {
		t.Fatalf("a reader saw %d bytes of %d", len(data), pageSize)
	}
	first := data[:16]
	if !bytes.Equal(data, bytes.Repeat(first, pageSize/16)) {
		t.Fatalf("a reader saw parts of two objects, the first by %s", first)
	}
	return string(first)
}

func race(ctx context.Context, s lake.Store, id string) (result, error) {
	var r result
	for i := range raceKeys {
		key := fmt.Sprintf("race/date=%d/%d", i%3, i)
		_, err := s.Put(ctx, key, strings.NewReader(id), lake.Condition{IfAbsent: true})
		if err == nil {
			r.Won = append(r.Won, key)
		} else if !errors.Is(err, lake.ErrExists) {
			return r, err
		}
	}
	for i := range raceSwaps {
		if _, err := s.Put(ctx, pageKey, bytes.NewReader(page(fmt.Sprintf("%s, %d", id, i))), lake.Condition{}); err != nil {
			return r, err
		}
	}
	for r.Counted < raceCounts {
		err := raise(ctx, s)
		if err == nil {
			r.Counted++
		} else if !errors.Is(err, lake.ErrChanged) {
			return r, err
		}
	}
	return r, nil
}

// raise adds one to the counter unless somebody else did since it was read.
func raise(ctx context.Context, s lake.Store) error {
	body, o, err := s.Get(ctx, counterKey, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return err
	}
	_, err = s.Put(ctx, counterKey, strings.NewReader(strconv.Itoa(n+1)), lake.Condition{IfVersion: o.Version})
	return err
}
