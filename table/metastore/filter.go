package metastore

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	hms "github.com/beltran/gohive/hive_metastore"
)

// maxDepth bounds the parentheses and NOTs around a condition, maxFilter the text.
const (
	maxDepth  = 1000
	maxFilter = 1 << 20
)

// condition says of a partition's values, in the order of the keys, whether it holds.
type condition func(values []string) bool

// parseFilter reads a filter on partition columns as get_partitions_by_filter has it (Filter.g of Apache Hive), such as
//
//	year = 2026 and (month >= 7 or day in (1, 2)) and not region like "eu-.*"
//
// Columns of an integer type compare as numbers, dates as dates, texts by their bytes; columns of other types cannot be asked for, and a client that is
// refused lists all. An empty filter matches all.
func parseFilter(text string, keys []*hms.FieldSchema) (func(name string) bool, error) {
	holds := condition(func([]string) bool { return true })
	if strings.TrimSpace(text) != "" {
		var err error
		if holds, err = parseCondition(text, &parser{keys: keys}); err != nil {
			return nil, err
		}
	}
	return func(name string) bool {
		_, values, err := parsePartitionName(name)
		return err == nil && len(values) == len(keys) && holds(values)
	}, nil
}

func parseCondition(text string, p *parser) (condition, error) {
	if len(text) > maxFilter {
		return nil, meta("the filter is longer than %d bytes", maxFilter)
	}
	err := p.lex(text)
	var holds condition
	if err == nil {
		holds, err = p.whole()
	}
	if err != nil {
		return nil, meta("Error parsing partition filter %q: %v", text, err)
	}
	return holds, nil
}

// The names by which a filter of tables has their properties (hive_metastoreConstants of Apache Hive).
const (
	ofOwner      = "hive_filter_field_owner__"
	ofLastAccess = "hive_filter_field_last_access__"
	ofParameter  = "hive_filter_field_params__"
)

// parseTableFilter reads a filter on properties of tables as get_table_names_by_filter has it.
func parseTableFilter(text string) (func(*hms.Table) bool, error) {
	keys := []*hms.FieldSchema{{Name: ofOwner, Type: "string"}, {Name: ofLastAccess, Type: "int"}}
	for _, word := range parameterWord.FindAllString(text, -1) {
		keys = append(keys, &hms.FieldSchema{Name: word, Type: "string"})
	}
	holds, err := parseCondition(text, &parser{keys: keys})
	if err != nil {
		return nil, err
	}
	return func(t *hms.Table) bool {
		values := []string{t.Owner, strconv.Itoa(int(t.LastAccessTime))}
		for _, k := range keys[len(values):] {
			values = append(values, t.Parameters[strings.TrimPrefix(k.Name, ofParameter)])
		}
		return holds(values)
	}, nil
}

var parameterWord = regexp.MustCompile(ofParameter + `\w+`)

// token is a word of a filter; kind is 'n'ame, 't'ext, 'd'ate, 'i'nteger, 'o'perator or, at the end, 0.
type token struct {
	kind byte
	text string
}

var lexer = regexp.MustCompile(`^(?:(\s+)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(\d{4}-\d\d-\d\d\b)|(-?\d+\b)|([A-Za-z_]\w*|` + "`[^`]*`" + `)|(<>|!=|<=|>=|=|<|>|\(|\)|,))`)

type parser struct {
	keys   []*hms.FieldSchema
	tokens []token
	depth  int
}

func (p *parser) lex(text string) error {
	for text != "" {
		m := lexer.FindStringSubmatch(text)
		if m == nil {
			return fmt.Errorf("cannot read it from %q on", text[:min(len(text), 20)])
		}
		switch {
		case m[2] != "":
			p.tokens = append(p.tokens, token{'t', m[2][1 : len(m[2])-1]}) // a backslash stays: Hive's grammar only keeps the quote after it from ending the text
		case m[3] != "":
			p.tokens = append(p.tokens, token{'d', m[3]})
		case m[4] != "":
			p.tokens = append(p.tokens, token{'i', m[4]})
		case m[5] != "":
			p.tokens = append(p.tokens, token{'n', strings.Trim(m[5], "`")})
		case m[6] != "":
			p.tokens = append(p.tokens, token{'o', m[6]})
		}
		text = text[len(m[0]):]
	}
	return nil
}

// peek is the next token, whose words are in lower case if they may be keywords.
func (p *parser) peek() token {
	if len(p.tokens) == 0 {
		return token{}
	}
	return p.tokens[0]
}

func (p *parser) next() token {
	t := p.peek()
	if len(p.tokens) > 0 {
		p.tokens = p.tokens[1:]
	}
	return t
}

// value takes the next tokens as a value: DATE "2026-07-05" is one, too.
func (p *parser) value() token {
	t := p.next()
	if t.kind == 'n' && strings.EqualFold(t.text, "date") && p.peek().kind == 't' {
		return token{'d', p.next().text}
	}
	return t
}

// accept takes the next token if it is the word or operator.
func (p *parser) accept(word string) bool {
	t := p.peek()
	if (t.kind == 'n' || t.kind == 'o') && strings.EqualFold(t.text, word) {
		p.next()
		return true
	}
	return false
}

func (p *parser) expect(word string) error {
	if !p.accept(word) {
		return fmt.Errorf("expected %s, got %q", word, p.peek().text)
	}
	return nil
}

func (p *parser) whole() (condition, error) {
	c, err := p.or()
	if err == nil && len(p.tokens) > 0 {
		err = fmt.Errorf("expected its end, got %q", p.peek().text)
	}
	return c, err
}

func (p *parser) or() (condition, error) {
	return p.chain("or", p.and, func(cs []condition, v []string) bool {
		return slices.ContainsFunc(cs, func(c condition) bool { return c(v) })
	})
}

func (p *parser) and() (condition, error) {
	return p.chain("and", p.term, func(cs []condition, v []string) bool {
		return !slices.ContainsFunc(cs, func(c condition) bool { return !c(v) })
	})
}

func (p *parser) chain(word string, part func() (condition, error), join func([]condition, []string) bool) (condition, error) {
	var all []condition
	for {
		c, err := part()
		if err != nil {
			return nil, err
		}
		all = append(all, c)
		if !p.accept(word) {
			break
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return func(values []string) bool { return join(all, values) }, nil
}

func (p *parser) term() (condition, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	switch {
	case p.accept("not"):
		c, err := p.term()
		return func(v []string) bool { return !c(v) }, err
	case p.columnsFollow():
		return p.tuples()
	case p.accept("("):
		c, err := p.or()
		if err == nil {
			err = p.expect(")")
		}
		return c, err
	}
	return p.comparison()
}

// columnsFollow reports whether the next tokens are the column list of a (day) in (5, 6), as Spark writes it, or of
// a (month, day) in ((7, 5), (7, 6)).
func (p *parser) columnsFollow() bool {
	return len(p.tokens) > 2 && p.tokens[0].text == "(" && p.tokens[1].kind == 'n' && (p.tokens[2].text == ")" || p.tokens[2].text == ",")
}

func (p *parser) tuples() (condition, error) {
	var columns []column
	p.next() // the parenthesis
	for {
		c, err := p.column(p.next())
		if err != nil {
			return nil, err
		}
		columns = append(columns, c)
		if p.accept(")") {
			break
		}
		if err := p.expect(","); err != nil {
			return nil, err
		}
	}
	negated := p.accept("not")
	if err := p.expect("in"); err != nil {
		return nil, err
	}
	c, err := p.in(columns...)
	if err != nil || !negated {
		return c, err
	}
	return func(v []string) bool { return !c(v) }, nil
}

// comparison is column OP value, value OP column, column [not] in (…), column [not] between a and b, column [not] like pattern.
func (p *parser) comparison() (condition, error) {
	first := p.value()
	if first.kind == 't' || first.kind == 'i' || first.kind == 'd' {
		op := p.next().text
		mirrored, found := map[string]string{"=": "=", "!=": "!=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}[op]
		if !found {
			return nil, fmt.Errorf("%q is no comparison", op)
		}
		column, err := p.column(p.next())
		if err != nil {
			return nil, err
		}
		return column.compare(mirrored, first)
	}
	column, err := p.column(first)
	if err != nil {
		return nil, err
	}
	negated := p.accept("not")
	var c condition
	switch {
	case p.accept("in"):
		c, err = p.in(column)
	case p.accept("between"):
		c, err = p.between(column)
	case p.accept("like"):
		c, err = column.like(p.next())
	case negated:
		return nil, errors.New("NOT must be followed by IN, BETWEEN or LIKE")
	default:
		return column.compare(p.next().text, p.value())
	}
	if err != nil || !negated {
		return c, err
	}
	return func(v []string) bool { // what cannot be read is neither in nor not in anything
		_, ok := column.read(v[column.at])
		return ok && !c(v)
	}, nil
}

// in is a list of values or, for several columns, of lists of values.
func (p *parser) in(columns ...column) (condition, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	var rows []condition
	for {
		row, err := p.row(columns)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
		if p.accept(")") {
			break
		}
		if err := p.expect(","); err != nil {
			return nil, err
		}
	}
	return func(v []string) bool { return slices.ContainsFunc(rows, func(c condition) bool { return c(v) }) }, nil
}

// row is the values of one row of a list; several stand in parentheses.
func (p *parser) row(columns []column) (condition, error) {
	if len(columns) == 1 {
		return columns[0].compare("=", p.value())
	}
	if err := p.expect("("); err != nil {
		return nil, err
	}
	var cells []condition
	for i, c := range columns {
		if i > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
		cell, err := c.compare("=", p.value())
		if err != nil {
			return nil, err
		}
		cells = append(cells, cell)
	}
	return func(v []string) bool { return !slices.ContainsFunc(cells, func(c condition) bool { return !c(v) }) }, p.expect(")")
}

func (p *parser) between(column column) (condition, error) {
	from, err := column.compare(">=", p.value())
	if err != nil {
		return nil, err
	}
	if err := p.expect("and"); err != nil {
		return nil, err
	}
	to, err := column.compare("<=", p.value())
	return func(v []string) bool { return from(v) && to(v) }, err
}

// column is a partition column: its place among the values and how it compares.
type column struct {
	name string
	at   int
	// read makes a value comparable by order; a partition without one has what cannot be read.
	read  func(string) (any, bool)
	order func(a, b any) int
	// kinds are those of tokens that it can be compared with, content is what it holds.
	kinds, content string
}

func (p *parser) column(t token) (column, error) {
	for i, k := range p.keys {
		if t.kind != 'n' || !strings.EqualFold(k.Name, t.text) {
			continue
		}
		switch kind, _, _ := strings.Cut(k.Type, "("); kind {
		case "tinyint", "smallint", "int", "bigint":
			return column{k.Name, i, readInteger, func(a, b any) int { return cmp.Compare(a.(int64), b.(int64)) }, "it", "integers"}, nil
		case "date":
			return column{k.Name, i, readDate, func(a, b any) int { return a.(time.Time).Compare(b.(time.Time)) }, "dt", "dates"}, nil
		case "string", "varchar", "char":
			return column{k.Name, i, readText, func(a, b any) int { return cmp.Compare(a.(string), b.(string)) }, "t", "texts"}, nil
		}
		return column{}, fmt.Errorf("partition column %s is of type %s, which cannot be filtered by", k.Name, k.Type)
	}
	return column{}, fmt.Errorf("%q is not a partition column", t.text)
}

func readInteger(s string) (any, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// readDate takes 2026-7-5, too, as Java does.
func readDate(s string) (any, bool) {
	t, err := time.Parse("2006-1-2", s)
	return t, err == nil
}

func readText(s string) (any, bool) { return s, true }

func (c column) compare(op string, value token) (condition, error) {
	if value.kind == 'n' || value.kind == 'o' || value.kind == 0 {
		return nil, fmt.Errorf("column %s is compared with %q, which is no value", c.name, value.text)
	}
	var holds func(int) bool
	switch op {
	case "=":
		holds = func(n int) bool { return n == 0 }
	case "!=", "<>":
		holds = func(n int) bool { return n != 0 }
	case "<":
		holds = func(n int) bool { return n < 0 }
	case "<=":
		holds = func(n int) bool { return n <= 0 }
	case ">":
		holds = func(n int) bool { return n > 0 }
	case ">=":
		holds = func(n int) bool { return n >= 0 }
	default:
		return nil, fmt.Errorf("%q is no comparison", op)
	}
	want, ok := c.read(value.text)
	if !ok || strings.IndexByte(c.kinds, value.kind) < 0 {
		return nil, fmt.Errorf("column %s holds %s, and %q is none", c.name, c.content, value.text)
	}
	return func(v []string) bool {
		is, ok := c.read(v[c.at])
		return ok && holds(c.order(is, want))
	}, nil
}

// like takes a regular expression for the whole value, as Hive's filter does.
func (c column) like(value token) (condition, error) {
	if value.kind != 't' {
		return nil, fmt.Errorf("LIKE needs a text, got %q", value.text)
	}
	re, err := regexp.Compile(`(?s)^(?:` + value.text + `)$`)
	if err != nil {
		return nil, err
	}
	return func(v []string) bool { return re.MatchString(v[c.at]) }, nil
}
