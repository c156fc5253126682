package embedded

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strings"

	"headwater/internal/access"
)

// This is a server of SASL SCRAM (RFC 5802) as Kafka's is, which none of a library is: librdkafka up to 2.6.0, which is kcat's in the distributions, writes its own nonce
// twice in its last message, and Kafka does not mind. It does no harm: the proof is of our nonce anyway, which the first of our messages has.

const iterations = 4096 // as Kafka has them

// keys are what a proof is held against.
type keys struct{ salt, stored, server []byte }

// conversation is one, of two messages of a client.
type conversation struct {
	d         *doorkeeper
	mechanism string
	of        func() hash.Hash
	who       *access.Identity

	gs2, bare, first, nonce string // what came before the client's first message, it, our answer, and the nonce of both sides
	keys                    keys
}

// scram has a client prove a name. Who is whoever claims to be there, until it is done.
func (d *doorkeeper) scram(mechanism string, of func() hash.Hash, who *access.Identity) func([]byte) ([]byte, bool, error) {
	c := &conversation{d: d, mechanism: mechanism, of: of, who: who}
	return func(given []byte) ([]byte, bool, error) {
		if c.first == "" {
			return c.begin(string(given))
		}
		return c.end(string(given))
	}
}

// begin takes n,a=ZID,n=NAME,r=NONCE, where a=ZID may be left out.
func (c *conversation) begin(given string) ([]byte, bool, error) {
	flag, rest, _ := strings.Cut(given, ",")
	zid, bare, found := strings.Cut(rest, ",")
	parts := strings.Split(bare, ",")
	if !found || flag != "n" && flag != "y" || len(parts) != 2 || !strings.HasPrefix(parts[0], "n=") || !strings.HasPrefix(parts[1], "r=") || len(parts[1]) < 3 {
		return nil, false, errors.New("not the first message of SCRAM without extensions")
	}
	unescape := strings.NewReplacer("=2C", ",", "=3D", "=")
	c.who.Name = unescape.Replace(parts[0][2:])
	if zid != "" && zid != "a="+parts[0][2:] {
		return nil, false, errors.New("one user asks to be another")
	}
	var err error
	if c.keys, err = c.d.keysOf(c.mechanism, c.of, c.who.Name); err != nil {
		return nil, false, err
	}
	c.gs2, c.bare, c.nonce = flag+","+zid+",", bare, parts[1][2:]+rand.Text()
	c.first = fmt.Sprintf("r=%s,s=%s,i=%d", c.nonce, base64.StdEncoding.EncodeToString(c.keys.salt), iterations)
	return []byte(c.first), false, nil
}

// end takes c=BINDING,r=NONCE,p=PROOF.
func (c *conversation) end(given string) ([]byte, bool, error) {
	parts := strings.Split(given, ",")
	if len(parts) != 3 || parts[0] != "c="+base64.StdEncoding.EncodeToString([]byte(c.gs2)) || !strings.HasPrefix(parts[1], "r=") || !strings.HasSuffix(parts[1], c.nonce) {
		return nil, false, errors.New("not the last message of this SCRAM")
	}
	text, is := strings.CutPrefix(parts[2], "p=")
	proof, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !is || len(proof) != len(c.keys.stored) {
		return nil, false, errors.New("not a proof")
	}
	message := c.bare + "," + c.first + "," + parts[0] + "," + parts[1]
	for i, b := range mac(c.of, c.keys.stored, message) {
		proof[i] ^= b
	}
	h := c.of()
	h.Write(proof)
	_, id, found := c.d.user(c.who.Name)
	if !hmac.Equal(h.Sum(nil), c.keys.stored) || !found {
		return nil, false, errors.New("the wrong password")
	}
	*c.who = id
	return []byte("v=" + base64.StdEncoding.EncodeToString(mac(c.of, c.keys.server, message))), true, nil
}

func mac(of func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(of, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// keysOf are made when they are first asked for. A user that there is not has some too, which nothing fits: who asks learns of it only in the end.
func (d *doorkeeper) keysOf(mechanism string, of func() hash.Hash, name string) (keys, error) {
	key := mechanism + " " + name
	salt := mac(sha256.New, d.key, key)[:16]
	password, _, found := d.user(name)
	if !found {
		return keys{salt: salt, stored: mac(of, d.key, "stored "+key), server: mac(of, d.key, "server "+key)}, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if k, found := d.kept[key]; found {
		return k, nil
	}
	salted, err := pbkdf2.Key(of, password.Reveal(), salt, iterations, of().Size()) // of the password as it is: neither Kafka nor its clients prepare it
	if err != nil {
		return keys{}, fmt.Errorf("making the keys of a password: %w", err)
	}
	h := of()
	h.Write(mac(of, salted, "Client Key"))
	k := keys{salt: salt, stored: h.Sum(nil), server: mac(of, salted, "Server Key")}
	d.kept[key] = k
	return k, nil
}
