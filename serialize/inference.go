package serialize

import (
	"maps"
	"math"

	"headwater/schema"
)

// Inference tells what a run with the default settings would make of records that are given to it one by one, whatever their days.
type Inference struct {
	w     *inferrer
	unfit map[string]int
	bare  int
}

// NewInference is an Inference that has seen nothing.
func NewInference() *Inference {
	w := newInferrer(reading{}, math.MinInt64, math.MaxInt64, keysPerColumn*DefaultConfig().Schema.MaxColumns)
	return &Inference{w: w, unfit: map[string]int{}}
}

// Add takes in a record, an envelope.
func (n *Inference) Add(record []byte) {
	of, reason := n.w.record(record)
	switch {
	case reason != "":
		n.unfit[reason]++
	case of == classBare:
		n.bare++
	}
}

// Columns is the schema of the flat table, and how many records would go to quarantine, by reason. It is the last thing to ask.
func (n *Inference) Columns() (flat schema.Type, unfit map[string]int) {
	s := scanned{evidence: n.w.evidence()}
	unfit = maps.Clone(n.unfit)
	if n.bare > 0 && s.hasObjects() {
		unfit[reasonKind] = n.bare
	}
	flat, _, _ = schema.Flatten(fieldType(s.evidenceOfRows().Resolve(), ownKeys[rawData]), DefaultConfig().Flat.Separator, nil)
	return flat, unfit
}
