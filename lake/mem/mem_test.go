package mem_test

import (
	"testing"

	"headwater/lake"
	"headwater/lake/laketest"
	"headwater/lake/mem"
)

func TestContract(t *testing.T) {
	laketest.Run(t, func(*testing.T) lake.Store { return mem.New() })
}

func TestRace(t *testing.T) {
	laketest.Race(t, mem.New())
}
