package envelope

import (
	"strconv"
	"strings"
)

// UniqueNames are the names of a row's fields as Item wants them: those that occur again get _2, _3, and those that are empty the name of their
// place, _c0 or _c1. They share no memory with fields.
func UniqueNames(fields []string) []string {
	names := make([]string, len(fields))
	taken := make(map[string]bool, len(fields))
	again := map[string]int{} // a name's last number, so that very many equal names cost no more than others
	for i, f := range fields {
		if f == "" {
			f = "_c" + strconv.Itoa(i)
		}
		name := f
		for k := max(2, again[f]+1); taken[name]; k++ {
			name, again[f] = f+"_"+strconv.Itoa(k), k
		}
		taken[name] = true
		names[i] = strings.Clone(name)
	}
	return names
}
