package connector

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"headwater/kafka"
	"headwater/land"
)

// daysFirst begins the folders that serialize makes tables of, and ofEnvelope is the time of envelopes.
const (
	daysFirst  = "'date'=YYYY-MM-dd"
	ofEnvelope = "ingestion_timestamp"
)

// tables says that the records are envelopes in folders of days, of which tables can be made.
func (c *conversion) tables() bool {
	_, err := time.LoadLocation(c.land.Timezone)
	format := c.land.Folders()
	return err == nil && (format == daysFirst || strings.HasPrefix(format, daysFirst+"/")) &&
		simple(c.land.TimestampExtractor) == "RecordField" && c.land.TimestampField == ofEnvelope
}

// render writes the pipeline file.
func (c *conversion) render(name, database string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Made by headwater import of a connector. What each key means: docs/land.md.
# To go on where the connector has stopped: stop it, and run headwater land adopt with this file and --from-group %s
# before the first start. Without it everything that Kafka still has would land; where there are objects of the connector, which
# do not say what they cover, landing stops instead.
`, inComment("connect-"+cmp.Or(name, "NAME")))
	for _, l := range c.lines {
		if l.Verdict == land.Refused {
			fmt.Fprintf(&b, "# Refused: %s: %s\n", inComment(l.Key), inComment(l.Why))
		}
	}
	if database == "" {
		database = identifier(name, "lake")
	}
	fmt.Fprintf(&b, "\ndatabase: %s\n", database)
	tables := c.tables()
	if tables && c.land.Timezone != "" {
		fmt.Fprintf(&b, "timezone: %s\n", scalar(c.land.Timezone))
	}
	fmt.Fprint(&b, "\nkafka:\n  brokers: [\"${KAFKA_BROKERS}\"] # one of the worker's bootstrap.servers, as kafka-1:9092; the others are found through it\n")
	if raw := c.raw(); raw != "" {
		fmt.Fprintf(&b, "\nlake:\n  raw: %s\n", scalar(raw))
	}
	c.renderSources(&b, tables)
	fmt.Fprint(&b, "\nland:\n")
	own := land.DefaultConfig()
	for _, f := range fields {
		at := f.at(&c.land)
		if (tables || c.land.Timezone == "") && f.key == "timezone" {
			continue
		}
		if text := yamlOf(at); c.has(f.key) || text != yamlOf(f.at(&own)) {
			fmt.Fprintf(&b, "  %s: %s%s\n", f.key, text, c.defaulted(f.key))
		}
	}
	return b.Bytes()
}

func (c *conversion) defaulted(key string) string {
	if c.has(key) {
		return ""
	}
	return " # the connector's default, or nearest to it"
}

// renderSources declares the topics if there are to be tables, and says how to have them otherwise.
func (c *conversion) renderSources(b *bytes.Buffer, tables bool) {
	names := sourceNames(c.land.Topics)
	if !tables {
		fmt.Fprint(b, `
# The objects are those of the connector, for whoever reads them now. For tables: leave out the line with engine; give land.path.format
# folders that begin with 'date'=YYYY-MM-dd; and declare what the records are (docs/sources/external.md), which puts an envelope around
# documents as they land.
`)
		for i, topic := range c.land.Topics {
			fmt.Fprintf(b, "#  %s: {external: {topic: %s, envelope: none}}\n", names[i], scalar(topic))
		}
		fmt.Fprint(b, "sources: {}\nserialize: {engine: none}\n")
		return
	}
	if len(names) == 0 {
		fmt.Fprint(b, "\n# Topics that land.topics.regex matches are sources without a line here.\nsources: {}\n")
		return
	}
	fmt.Fprint(b, "\nsources:\n")
	for i, topic := range c.land.Topics {
		fmt.Fprintf(b, "  %s: {external: {topic: %s, timestamp: ms}} # or s, iso: the unit of %s\n", names[i], scalar(topic), ofEnvelope)
	}
}

// raw is lake.raw.
func (c *conversion) raw() string {
	bucket := c.given["s3.bucket.name"]
	if bucket == "" {
		return ""
	}
	query := url.Values{}
	region, endpoint := c.given["s3.region"], c.given["store.url"]
	if region == "" && endpoint == "" {
		region = "us-west-2" // the connector's default
	}
	for key, value := range map[string]string{"region": region, "endpoint": endpoint} {
		if value != "" {
			query.Set(key, value)
		}
	}
	for _, g := range given {
		if value := c.given[g.key]; value != "" {
			query.Set(g.in, value)
		}
	}
	return "s3://" + bucket + "?" + strings.NewReplacer("%3A", ":", "%2F", "/", "%2C", ",").Replace(query.Encode())
}

var notPlain = regexp.MustCompile(`[^a-z0-9]+`)

// identifier makes a name of a text, or gives fallback if nothing is left of it.
func identifier(text, fallback string) string {
	name := strings.TrimLeft(notPlain.ReplaceAllString(strings.ToLower(text), "_"), "0123456789_")
	name = strings.TrimRight(name[:min(len(name), 60)], "_")
	if name == "" {
		return fallback
	}
	return name
}

// sourceNames are those that the topics would have by themselves, made different.
func sourceNames(topics []string) (names []string) {
	for _, topic := range topics {
		base := identifier(kafka.SourceOf(topic), "topic")
		name := base
		for n := 2; slices.Contains(names, name) || slices.Contains(names, strings.TrimSuffix(name, "_raw")) || slices.Contains(names, name+"_raw"); n++ {
			name = fmt.Sprintf("%s_%d", base, n)
		}
		names = append(names, name)
	}
	return names
}

func yamlOf(at any) string {
	switch at := at.(type) {
	case *string:
		return scalar(*at)
	case *[]string:
		var all []string
		for _, text := range *at {
			all = append(all, scalar(text))
		}
		return "[" + strings.Join(all, ", ") + "]"
	case *int:
		return fmt.Sprint(*at)
	case *int64:
		return fmt.Sprint(*at)
	case *bool:
		return fmt.Sprint(*at)
	}
	panic(fmt.Sprintf("a key of land is a %T", at))
}

var plainScalar = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./-]*$`)

var notYAML = regexp.MustCompile("[\u007f-\u009f\ufffe\uffff]")

// words are scalars that YAML's versions take for something else than texts.
var words = []string{"true", "false", "yes", "no", "on", "off", "null", "y", "n"}

// scalar is a text in YAML.
func scalar(text string) string {
	if plainScalar.MatchString(text) && !slices.Contains(words, strings.ToLower(text)) {
		return text
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(strings.ReplaceAll(text, "${", "$${")); err != nil {
		panic(err) // a text always has JSON
	}
	return escapeControls(strings.TrimSuffix(b.String(), "\n"))
}

// escapeControls writes what JSON has as it is and YAML refuses: DEL, C1, the two that are no characters.
func escapeControls(text string) string {
	return notYAML.ReplaceAllStringFunc(text, func(c string) string {
		r, _ := utf8.DecodeRuneInString(c)
		return fmt.Sprintf(`\u%04x`, r)
	})
}

// inComment keeps a text in its line.
func inComment(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.Join(strings.Fields(text), " "))
}
