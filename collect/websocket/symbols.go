package websocket

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"headwater/envelope"
	"headwater/internal/setting"
)

const (
	placeSymbol  = "{symbol}"
	placeSymbols = "{symbols}"

	// mostConnections bounds those of a source.
	mostConnections = 1000
)

func (c *Config) validateSymbols(f *setting.Faults) {
	said := func(place string) bool {
		return strings.Contains(c.URL, place) || slices.ContainsFunc(c.Send, func(text setting.Secret) bool { return strings.Contains(text.Reveal(), place) })
	}
	used := said(placeSymbol) || said(placeSymbols)
	seen := map[string]bool{}
	for _, symbol := range c.Symbols {
		if symbol == "" || seen[symbol] {
			f.Add([]string{"symbols"}, "must be different and not empty, got %q twice or empty", symbol)
		}
		seen[symbol] = true
	}
	switch {
	case len(c.Symbols) == 0 && used:
		f.Add([]string{"symbols"}, "is missing: write what %s and %s stand for, as [BTC-EUR, ETH-EUR]", placeSymbol, placeSymbols)
	case len(c.Symbols) > 0 && !used:
		f.Add([]string{"symbols"}, `are nowhere: write {symbols} into send, as {"subscribe":{symbols}}, or {symbol} into send or url`)
	}
	if strings.Contains(c.URL, placeSymbols) {
		f.Add([]string{"url"}, "can have %s, with per_connection: 1, and not %s: subscribe by send", placeSymbol, placeSymbols)
	}
	per := c.perConnection()
	switch n := (len(c.Symbols) + per - 1) / per; {
	case c.PerConnection < 0:
		f.Add([]string{"per_connection"}, "must be how many symbols a connection takes, or 0 for all, got %d", c.PerConnection)
	case c.PerConnection > 0 && len(c.Symbols) == 0:
		f.Add([]string{"per_connection"}, "needs symbols")
	case strings.Contains(c.URL, placeSymbol) && min(per, len(c.Symbols)) > 1:
		f.Add([]string{"per_connection"}, "must be 1, because %s in url is one symbol", placeSymbol)
	case n > mostConnections:
		f.Add([]string{"per_connection"}, "would make %d connections, and a source has at most %d", n, mostConnections)
	}
}

func (c *Config) perConnection() int {
	if c.PerConnection > 0 {
		return c.PerConnection
	}
	return max(1, len(c.Symbols))
}

// subscription is what one connection is for.
type subscription struct {
	// name says which symbols it has, the first and the last, so that another name is another subscription; it is empty without symbols.
	name string
	url  string
	send []string
}

// subscriptions divide the symbols.
func (c *Config) subscriptions() []subscription {
	if len(c.Symbols) == 0 {
		return []subscription{c.subscribe("", nil)}
	}
	var all []subscription
	for some := range slices.Chunk(c.Symbols, c.perConnection()) {
		name := some[0]
		if len(some) > 1 {
			name += ".." + some[len(some)-1]
		}
		all = append(all, c.subscribe(name, some))
	}
	return all
}

func (c *Config) subscribe(name string, symbols []string) subscription {
	sub := subscription{name: name, url: c.URL}
	if len(symbols) == 1 {
		sub.url = inAddress(c.URL, symbols[0])
	}
	list, err := json.Marshal(symbols)
	if err != nil {
		panic(err) // strings always marshal
	}
	for _, secret := range c.Send {
		text := strings.ReplaceAll(secret.Reveal(), placeSymbols, string(list))
		if !strings.Contains(text, placeSymbol) {
			sub.send = append(sub.send, text)
			continue
		}
		for _, symbol := range symbols {
			quoted := envelope.AppendString(nil, symbol)
			sub.send = append(sub.send, strings.ReplaceAll(text, placeSymbol, string(quoted[1:len(quoted)-1])))
		}
	}
	return sub
}

// inAddress puts a symbol into a URL, in whose path or query it may be.
func inAddress(address, symbol string) string {
	escaped := strings.NewReplacer("&", "%26", "+", "%2B", "=", "%3D").Replace(url.PathEscape(symbol))
	return strings.ReplaceAll(address, placeSymbol, escaped)
}
