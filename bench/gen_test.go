package bench

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// dataset is one kind of data: many small records, some nested ones, or few large ones.
type dataset struct {
	name string
	// full is the number of records at the largest scale.
	full int
	// key is the field that no two records have equal.
	key  string
	item func(g *generator, n, total int) string
}

var datasets = []dataset{
	{"ticks", 2_000_000, "trade_id", tick},
	{"orders", 300_000, "order_id", order},
	{"events", 100_000, "id", event},
}

// parts is the number of files of a data set, and of Kafka partitions of its topic.
const parts = 3

// generate writes a data set as NDJSON files. The same arguments give the same bytes, on every machine: numbers with
// fractions are made of integers.
func generate(d dataset, dir string, total int) error {
	for p := range parts {
		if err := generatePart(d, filepath.Join(dir, fmt.Sprintf("part-%d.ndjson", p)), p, total); err != nil {
			return err
		}
	}
	return nil
}

func generatePart(d dataset, path string, part, total int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	g := &generator{rand.New(rand.NewPCG(7, uint64(part))), map[int]int{}}
	for n := total * part / parts; n < total*(part+1)/parts; n++ {
		w.WriteString(d.item(g, n, total))
		w.WriteByte('\n')
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// generator draws what the data sets share.
type generator struct {
	*rand.Rand
	prices map[int]int // by symbol
}

// in draws with a chance of n in 1000.
func (g *generator) in(n int) bool { return g.IntN(1000) < n }

// low draws below n, low numbers more often.
func (g *generator) low(n int) int { return g.IntN(g.IntN(n) + 1) }

// hex draws n digits.
func (g *generator) hex(n int) string {
	const digits = "0123456789abcdef"
	b := make([]byte, n)
	for i := range b {
		b[i] = digits[g.IntN(16)]
	}
	return string(b)
}

// list draws n values and writes them as an array.
func list(n int, value func() string) string {
	values := make([]string, n)
	for i := range values {
		values[i] = value()
	}
	return "[" + strings.Join(values, ",") + "]"
}

// either gives yes where ok, else no.
func either(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}

// one draws a value.
func one(g *generator, of []string) string { return of[g.IntN(len(of))] }

// at is the moment of a day at which record n of total happens.
func at(n, total int) time.Time {
	return time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * 24 * time.Hour / time.Duration(total))
}

var (
	coins      = strings.Fields("BTC ETH SOL XRP ADA DOT AVAX LTC LINK ATOM UNI DOGE NEAR APT ARB OP")
	currencies = strings.Fields("USD EUR USDT GBP JPY")
	venues     = strings.Fields("binance kraken coinbase bitstamp okx bybit")
)

// decimal writes units of 10^-digits.
func decimal(units, digits int) string {
	s := fmt.Sprintf("%0*d", digits+1, units)
	return s[:len(s)-digits] + "." + s[len(s)-digits:]
}

// tick is flat: a dozen numbers and short strings. One field is rare, and one appears only late in the day.
func tick(g *generator, n, total int) string {
	symbol := g.low(len(coins) * len(currencies))
	price := g.prices[symbol]
	if price == 0 {
		price = 100_000 << g.IntN(18)
	}
	price += price / 5000 * (g.IntN(201) - 100) / 100
	g.prices[symbol] = price
	return fmt.Sprintf(`{"symbol":"%s%s","venue":"%s","price":%s,"qty":%s,"bid":%s,"ask":%s,"side":"%s","trade_id":%d,"seq":%d,"exchange_ts":%d,"is_maker":%t%s%s}`,
		coins[symbol/len(currencies)], currencies[symbol%len(currencies)], one(g, venues), decimal(price, 6), decimal(g.low(90_000), 4),
		decimal(price-price/10_000, 6), decimal(price+price/10_000, 6), either(g.in(500), "buy", "sell"),
		9_000_000_000+3*n, n, at(n, total).UnixMilli()-5-int64(g.IntN(40)), g.in(310),
		either(g.in(50), `,"cond":"`+either(g.in(400), "ISO", "LATE")+`"`, ""),
		either(n > total*97/100 && g.in(10), `,"auction_px":`+decimal(price/100, 4), ""))
}

var (
	firsts = strings.Fields("Anna Jos\u00e9 \u0141ukasz Zo\u00eb \u674e\u96f7 \u041e\u043b\u0435\u0433 Fatma Nguy\u1ec5n Bj\u00f6rn Siobh\u00e1n \u5c71\u7530\u592a\u90ce Maria John Noa")
	lasts  = strings.Fields("Garc\u00eda M\u00fcller Kowalski Smith Ivanov O'Neil \u00c7elik S\u00f8rensen Silva Cohen Dubois")
	cities = strings.Fields("M\u00fcnchen Recife Krak\u00f3w \u6771\u4eac Haifa Boston \u00c5rhus \u039b\u03ac\u03c1\u03b9\u03c3\u03b1 \u041c\u043e\u0441\u043a\u0432\u0430 Hanoi Paris Leeds")
	states = strings.Fields("DE BR PL JP IL US DK GR RU VN FR GB")
	nouns  = strings.Fields("red blue green large small cotton steel wool lamp chair table phone case cable mug bottle shirt jacket boots paper ink desk light bulb fan filter brush wheel rope tray clock")
	notes  = []string{
		`leave at the door`, `bitte klingeln \u2013 2. Stock`, "\u304a\u5c4a\u3051\u524d\u306b\u304a\u96fb\u8a71", `call \"before\" delivery`,
		`c:\\gate\\4\n2nd line`, "\u0432\u0445\u043e\u0434 \u0441\u043b\u0435\u0432\u0430 \U0001f642", `no substitutions please`,
	}
)

// text is some words, now and then with something that needs an escape or is not ASCII.
func text(g *generator, atLeast, below int) string {
	words := make([]string, atLeast+g.IntN(below-atLeast))
	for i := range words {
		words[i] = one(g, nouns)
	}
	return strings.Join(words, " ") + one(g, []string{".", " \u2013 ok?", `\n\n* fix \"x\"\n* na` + "\u00efve \U0001f680", ""})
}

func address(g *generator) string {
	k := g.IntN(len(cities))
	return fmt.Sprintf(`{"street":"%s %d","city":"%s","zip":"%05d","country":"%s","geo":{"lat":%s,"lon":%s}}`,
		one(g, lasts), g.IntN(200), cities[k], g.IntN(99999), states[k], decimal(g.IntN(70_000_000), 6), decimal(g.IntN(180_000_000), 6))
}

func line(g *generator) string {
	return fmt.Sprintf(`{"sku":"SKU-%06d","name":"%s %s","qty":%d,"unit_price":%s,"attrs":{"color":"%s","weight_g":%d}%s%s}`,
		g.IntN(40000), one(g, nouns), one(g, nouns), 1+g.IntN(5), decimal(100+g.IntN(30000), 2), one(g, nouns[:3]), g.IntN(5000),
		either(g.in(150), fmt.Sprintf(`,"discount":{"code":"D%02d","pct":%d}`, g.IntN(40), g.IntN(30)), ""),
		either(g.in(100), `,"tags":`+list(g.IntN(4), func() string { return `"` + one(g, nouns) + `"` }), ""))
}

// order is nested, with arrays of objects, text of many languages, numbers that are whole but for a few, and fields that
// are null, rare, or appear only late in the day.
func order(g *generator, n, total int) string {
	return fmt.Sprintf(`{"order_id":"ORD-%010d","status":"%s","created_at":"%s","currency":"%s","customer":{"id":%d,"name":"%s %s","email":"u%d@example.com","tier":%s,"address":%s%s%s},"items":%s,"total":%s,"shipping_fee":%s,"priority":%d,"coupon":%s,"channels":%s,"payment":{"method":"%s","captured":%t,"fees":{"fixed":0.3,"pct":%d}}%s%s%s%s}`,
		7*n+13, one(g, []string{"new", "paid", "shipped", "done", "void"}), at(n, total).Format("2006-01-02T15:04:05.000Z"), one(g, currencies),
		g.IntN(5_000_000), one(g, firsts), one(g, lasts), g.IntN(5_000_000), one(g, []string{`"gold"`, `"silver"`, `"bronze"`, "null"}), address(g),
		either(g.in(400), fmt.Sprintf(`,"phone":"+%d %09d"`, 1+g.IntN(90), g.IntN(1e9)), ""),
		either(g.in(200), fmt.Sprintf(`,"loyalty":{"points":%d,"since":"20%02d-0%d-1%d"}`, g.IntN(90000), 10+g.IntN(16), 1+g.IntN(9), g.IntN(10)), ""),
		list(1+g.low(7), func() string { return line(g) }), decimal(100+g.low(300_000), 2), either(g.in(4), decimal(g.IntN(3000), 2), fmt.Sprint(g.IntN(30))), g.IntN(3),
		either(g.in(700), "null", fmt.Sprintf(`"C%04d"`, g.IntN(9999))), list(1+g.IntN(2), func() string { return `"` + one(g, []string{"web", "app", "store", "call"}) + `"` }),
		one(g, []string{"card", "paypal", "cod"}), g.in(800), g.IntN(4),
		either(g.in(600), `,"ship_to":`+address(g), ""), either(g.in(120), `,"note":"`+one(g, notes)+`"`, ""),
		either(g.in(50), fmt.Sprintf(`,"risk":{"score":%s,"rules":%s,"reviewer":null}`, decimal(g.IntN(10000), 4), list(g.IntN(5), func() string { return fmt.Sprint(g.IntN(500)) })), ""),
		either(n > total*96/100 && g.in(50), fmt.Sprintf(`,"returns":{"reason":"size","rma":{"id":%d,"labels":["x","y"]}}`, g.IntN(1e6)), ""))
}

const host = "https://api.example.org"

func user(g *generator) string {
	id := g.low(900_000)
	u := fmt.Sprintf("%s/users/dev-%d", host, id)
	return fmt.Sprintf(`{"login":"dev-%d","id":%d,"node_id":"MDQ6VXNlcj%d","avatar_url":"%s/avatar?v=4","gravatar_id":"","url":"%[4]s","followers_url":"%[4]s/followers","repos_url":"%[4]s/repos","events_url":"%[4]s/events{/privacy}","type":"%[5]s","site_admin":%[6]t}`,
		id, id, id, u, either(id%17 == 0, "Bot", "User"), id%101 == 0)
}

func repository(g *generator) string {
	id := g.low(400_000)
	return fmt.Sprintf(`{"id":%d,"name":"proj-%d","full_name":"org-%d/proj-%d","private":false,"owner":%s,"description":%s,"fork":%t,"url":"%s/repos/org-%d/proj-%d","created_at":"2021-0%d-1%dT00:00:00Z","size":%d,"stargazers_count":%d,"language":%s,"mirror_url":null,"archived":false,"open_issues_count":%d,"topics":%s,"default_branch":"main"%s}`,
		id, id, id%5000, id, user(g), either(id%3 == 0, "null", `"A `+text(g, 2, 5)+`"`), id%4 == 0, host, id%5000, id, 1+id%9, id%10, g.IntN(90000), g.low(50000),
		one(g, []string{"null", `"Go"`, `"Rust"`, `"Python"`, `"C++"`, `"Java"`}), g.IntN(90), list(g.IntN(4), func() string { return `"` + one(g, nouns) + `"` }),
		either(id%5 > 0, `,"license":{"key":"mit","name":"MIT License","spdx_id":"MIT"}`, ""))
}

func issue(g *generator, when, api string) string {
	number := g.IntN(20000)
	return fmt.Sprintf(`{"url":"%s/issues/%d","labels_url":"%s/issues/%d/labels{/name}","id":%d,"number":%d,"title":"%s","user":%s,"labels":%s,"state":"open","locked":false,"assignee":%s,"milestone":null,"comments":%d,"created_at":"%s","closed_at":%s,"body":%s,"reactions":{"total_count":%d,"+1":%d,"-1":0,"laugh":0,"heart":%d}%s}`,
		api, number, api, number, g.IntN(2e9), number, text(g, 4, 10), user(g),
		list(g.IntN(4), func() string {
			return fmt.Sprintf(`{"id":%d,"name":"%s","color":"%s","default":%t,"description":%s}`, g.IntN(1e9), one(g, nouns), g.hex(6), g.in(300), either(g.in(500), "null", `"`+text(g, 2, 5)+`"`))
		}),
		either(g.in(200), user(g), "null"), g.IntN(30), when, either(g.in(700), "null", `"`+when+`"`), either(g.in(100), "null", `"`+text(g, 10, 120)+`"`),
		g.IntN(4), g.IntN(3), g.IntN(2), either(g.in(20), `,"performed_via_app":{"id":7,"slug":"ci-bot","permissions":{"issues":"write","checks":"read"}}`, ""))
}

func pull(g *generator, when, api string) string {
	number := g.IntN(20000)
	merged := g.in(400)
	side := func() string {
		return fmt.Sprintf(`{"label":"o:main","ref":"f-%d","sha":"%s","user":%s,"repo":%s}`, number, g.hex(40), user(g), either(g.in(970), repository(g), "null"))
	}
	return fmt.Sprintf(`{"url":"%s/pulls/%d","id":%d,"number":%d,"state":"open","title":"%s","user":%s,"body":%s,"created_at":"%s","merged_at":%s,"requested_reviewers":%s,"head":%s,"base":%s,"_links":{"self":{"href":"%s/pulls/%d"}},"draft":%t,"merged":%t,"mergeable":%s,"merged_by":%s,"commits":%d,"additions":%d,"deletions":%d,"changed_files":%d}`,
		api, number, g.IntN(2e9), number, text(g, 4, 12), user(g), either(g.in(300), "null", `"`+text(g, 5, 100)+`"`), when, either(merged, `"`+when+`"`, "null"),
		list(g.low(3), func() string { return user(g) }), side(), side(), api, number, g.in(100), merged, one(g, []string{"null", "null", "true", "false"}),
		either(merged, user(g), "null"), g.IntN(20), g.IntN(5000), g.IntN(3000), g.IntN(60))
}

func commits(g *generator, n int, api string) string {
	return fmt.Sprintf(`{"push_id":%d,"ref":"refs/heads/main","head":"%s","before":"%s","commits":%s}`, 15_000_000_000+n, g.hex(40), g.hex(40),
		list(1+g.low(9), func() string {
			return fmt.Sprintf(`{"sha":"%s","author":{"email":"dev@example.org","name":"%s"},"message":"%s","distinct":%t,"url":"%s/commits/%s"}`, g.hex(40), one(g, firsts), text(g, 4, 24), g.in(900), api, g.hex(40))
		}))
}

func release(g *generator, n, total int) string {
	return fmt.Sprintf(`{"action":"published","release":{"id":%d,"tag_name":"v%d.%d","draft":false,"author":%s,"assets":%s,"body":"%s"%s}}`, g.IntN(1e8), g.IntN(9), g.IntN(20), user(g),
		list(g.IntN(4), func() string {
			return fmt.Sprintf(`{"id":%d,"name":"a.tgz","size":%d,"uploader":%s}`, g.IntN(1e8), g.IntN(1e9), user(g))
		}),
		text(g, 5, 60), either(n > total*95/100, `,"discussion":{"category":{"id":3,"slug":"ann"},"score":`+decimal(g.IntN(1000), 3)+`}`, ""))
}

// event is one of many shapes, as code hosts publish them: hundreds of columns, most of them empty in most records.
func event(g *generator, n, total int) string {
	repo := g.low(400_000)
	api := fmt.Sprintf("%s/repos/org-%d/proj-%d", host, repo%5000, repo)
	when := at(n, total).Format(time.RFC3339)
	kind, payload := "", ""
	switch r := g.IntN(100); {
	case r < 42:
		kind, payload = "Push", commits(g, n, api)
	case r < 60:
		kind, payload = "PullRequest", `{"action":"opened","pull_request":`+pull(g, when, api)+`}`
	case r < 72:
		kind, payload = "IssueComment", fmt.Sprintf(`{"action":"created","issue":%s,"comment":{"id":%d,"user":%s,"created_at":"%s","body":"%s"}}`, issue(g, when, api), g.IntN(2e9), user(g), when, text(g, 6, 100))
	case r < 80:
		kind, payload = "Issues", `{"action":"opened","issue":`+issue(g, when, api)+`}`
	case r < 88:
		kind, payload = "Watch", `{"action":"started"}`
	case r < 95:
		kind, payload = "Create", fmt.Sprintf(`{"ref":%s,"ref_type":"tag","master_branch":"main","description":%s}`, either(g.in(300), "null", fmt.Sprintf(`"v1.%d"`, g.IntN(50))), either(g.in(400), "null", `"`+text(g, 3, 12)+`"`))
	case r < 98:
		kind, payload = "Fork", `{"forkee":`+repository(g)+`}`
	default:
		kind, payload = "Release", release(g, n, total)
	}
	return fmt.Sprintf(`{"id":"%d","type":"%sEvent","actor":%s,"repo":{"id":%d,"name":"org-%d/proj-%d","url":"%s"},"public":true,"created_at":"%s"%s,"payload":%s}`,
		40_000_000_000+n, kind, user(g), repo, repo%5000, repo, api, when, either(g.in(300), fmt.Sprintf(`,"org":{"id":%d,"login":"org-%d","gravatar_id":""}`, repo%5000, repo%5000), ""), payload)
}
