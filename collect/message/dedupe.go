package message

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"headwater/envelope"
	"headwater/internal/setting"
)

// Dedupe is how a message that comes again is known. The zero value knows none.
type Dedupe struct {
	// Key is the name of a header or, if it begins with $., a path of names in a JSON body, as $.order.id.
	Key string `yaml:"key"`
	// Window is how many keys are remembered, the newest.
	Window int `yaml:"window"`
}

// maxWindow bounds what a cursor holds: a key has about 20 bytes there.
const maxWindow = 100_000

// Validate adds the faults; least is how many messages may be on their way, all of which may come again.
func (d *Dedupe) Validate(f *setting.Faults, least int, because string) {
	if d.Key == "" {
		return
	}
	if strings.HasPrefix(d.Key, "$") && !IsPath(d.Key) {
		f.Add([]string{"dedupe", "key"}, "must be the name of a header or a path as $.order.id, got %q", d.Key)
	}
	if d.Window < least || d.Window > maxWindow {
		f.Add([]string{"dedupe", "window"}, "must be from %d (%s) to %d, got %d", least, because, maxWindow, d.Window)
	}
}

// Of is the key of a message; empty if it has none.
func (d *Dedupe) Of(h *Headers, body []byte) string {
	if !strings.HasPrefix(d.Key, "$.") {
		return h.find(d.Key)
	}
	raw, found, err := Find(body, d.Key)
	if err != nil || !found || raw[0] == '{' || raw[0] == '[' || string(raw) == "null" {
		return ""
	}
	var text string
	if raw[0] == '"' && json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(bytes.TrimSpace(raw))
}

// Keys are those of a stream's last messages.
type Keys struct {
	most  int
	known map[string]struct{}
	order []string

	pinned map[string]struct{}
	until  time.Time
	carry  time.Time // until then all keys stay in the cursor
}

// maxCarried is how many keys a cursor has at most beyond the window.
const maxCarried = 100_000

// NewKeys are those that a stream's records say, the newest most of them. Invariant 2.
func NewKeys(at envelope.StreamCursor, most int) *Keys {
	k := &Keys{most: most, known: map[string]struct{}{}}
	for _, hash := range at.Keys {
		k.known[hash] = struct{}{}
	}
	k.order = slices.Clone(at.Keys)
	k.trim()
	return k
}

// Pinned are all keys that a stream's records say, and they stay known for so long, however many are added: for upstreams that give what a killed process
// had only after many others. For as long as that takes, again, they stay in the cursor too, with those that are added: so that it may be
// the next process that is given them.
func Pinned(at envelope.StreamCursor, most int, long, again time.Duration) *Keys {
	k := NewKeys(at, most+maxCarried)
	k.most = most
	k.pinned, k.until = maps.Clone(k.known), time.Now().Add(long)
	k.carry = time.Now().Add(again)
	return k
}

// Most is how many keys the stream's cursor is to have: what the Keys of the item with the key that was added last must be.
func (k *Keys) Most() int {
	if !k.carry.IsZero() && time.Now().Before(k.carry) {
		return min(max(len(k.order), k.most), k.most+maxCarried)
	}
	return k.most
}

func (k *Keys) trim() {
	for most := k.Most(); len(k.order) > most; k.order = k.order[1:] {
		delete(k.known, k.order[0])
	}
}

// Add takes the key of a message and gives what its item's Key must be. It is not new if one of the last messages had it.
func (k *Keys) Add(key string) (hash string, isNew bool) {
	hash = hashOf(key)
	return hash, k.add(hash)
}

func (k *Keys) add(hash string) bool {
	if k.has(hash) {
		return false
	}
	k.known[hash] = struct{}{}
	k.order = append(k.order, hash)
	k.trim()
	return true
}

// Has says whether one of the last messages had the key.
func (k *Keys) Has(key string) bool { return k.has(hashOf(key)) }

func (k *Keys) has(hash string) bool {
	if _, known := k.known[hash]; known {
		return true
	}
	if k.pinned != nil && time.Now().After(k.until) {
		k.pinned = nil
	}
	_, known := k.pinned[hash]
	return known
}

func hashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}
