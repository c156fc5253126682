package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"headwater/serialize"
)

// Report loads the pipeline file at path and writes what is wrong with it, or what it would do, for people or as one JSON
// object. It returns Load's error; the faults in it are written already.
func Report(w io.Writer, path string, reg *Registry, asJSON bool) error {
	p, err := Load(path, reg)
	faults, isFaults := errors.AsType[Faults](err)
	if err != nil && !isFaults {
		return err
	}
	var written error
	switch {
	case asJSON:
		written = reportJSON(w, path, p, faults)
	case isFaults:
		noun := "faults"
		if len(faults) == 1 {
			noun = "fault"
		}
		_, written = fmt.Fprintf(w, "%v\n%s: %d %s\n", faults, path, len(faults), noun)
	default:
		written = p.summary(w)
	}
	return errors.Join(err, written)
}

type sourceJSON struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Topic string `json:"topic"`
	Raw   string `json:"raw_table"`
	Flat  string `json:"flat_table"`
}

func reportJSON(w io.Writer, path string, p *Pipeline, faults Faults) error {
	out := struct {
		File    string       `json:"file"`
		Faults  Faults       `json:"faults"`
		Sources []sourceJSON `json:"sources"`
	}{path, append(Faults{}, faults...), []sourceJSON{}}
	if p != nil {
		for _, s := range p.Sources {
			out.Sources = append(out.Sources, sourceJSON{s.Name, s.Kind, s.Topic, s.RawTable.String(), s.FlatTable.String()})
		}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(out)
}

// summary writes where everything comes from and goes to.
func (p *Pipeline) summary(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	brokers := strings.Join(p.Kafka.Brokers, ",")
	if brokers == "" {
		brokers = "embedded, in " + filepath.Join(p.DataDir, "kafka")
	}
	fmt.Fprintf(t, "%s: no faults\n\n", p.File)
	tables := p.Lake.Tables
	if p.Serialize.Engine == serialize.NoEngine {
		tables = "none are made"
	}
	fmt.Fprintf(t, "days\t%s\nkafka\t%s\nraw\t%s\ntables\t%s\naccess\t%s\n\n", p.Timezone, brokers, p.Lake.Raw, tables, p.access())
	fmt.Fprint(t, "SOURCE\tKIND\tTOPIC\tRAW TABLE\tFLAT TABLE\n")
	for _, s := range p.Sources {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.Name, s.Kind, s.Topic, s.RawTable, s.FlatTable)
	}
	return t.Flush()
}

// access says who is let in at the doors.
func (p *Pipeline) access() string {
	if p.Access == nil {
		return "everybody on this machine"
	}
	var may []string
	for _, list := range p.Access.Lists() {
		may = append(may, fmt.Sprintf("%s: %s", list.Scope, cmp.Or(strings.Join(list.Names, ", "), "nobody")))
	}
	text := strings.Join(may, "; ")
	if p.Listen.TLS == nil && len(p.Access.Users) > 0 && !(p.Listen.HTTP.local() && p.Listen.Kafka.local()) {
		text += "\n\tpasswords and tokens can be read on their way: write listen.tls, or have a proxy encrypt them"
	}
	if len(p.Hive.URIs) == 0 {
		text += "\n\tthe embedded metastore asks nobody who they are, and is on this machine alone"
	}
	return text
}
