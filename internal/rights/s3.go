package rights

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"headwater/internal/access"
)

// S3 is how policies are written.
type S3 struct {
	// Account is the number of an AWS account, whose users the principals are then; without, they are bare names, which versitygw takes.
	Account string
	// Own is the process's account: a user's name, or an ARN.
	Own string
	// ByUser gives policies of users, without principals, in the place of policies of buckets.
	ByUser bool
}

// Policy is a policy of a bucket, or of a user.
type Policy struct {
	Bucket string   `json:"bucket,omitempty"`
	User   string   `json:"user,omitempty"`
	Policy Document `json:"policy"`
}

// Document is a policy as S3 takes it.
type Document struct {
	Version   string
	Statement []Statement
}

// Statement lets somebody do something.
type Statement struct {
	Sid       string `json:",omitempty"`
	Effect    string
	Principal map[string][]string `json:",omitempty"`
	Action    []string
	Resource  []string
	Condition map[string]map[string][]string `json:",omitempty"`
}

// maxPolicy is the size of the largest policy of a bucket that Amazon takes.
const maxPolicy = 20 << 10

var accountNumber = regexp.MustCompile(`^[0-9]{12}$`)

// Policies are those of all buckets, or of all users, that the layers need. Nobody is denied anything: who is in no statement has no right by them.
func (p Pipeline) Policies(s S3) (all []Policy, notes Notes, err error) {
	if p.Raw == nil && p.Tables == nil {
		return nil, nil, errors.New("no layer is in a bucket of S3: write lake: {raw: \"s3://...\", tables: \"s3://...\"}, or have the folders' owner and mode say who reads them")
	}
	if s.Account != "" && !accountNumber.MatchString(s.Account) {
		return nil, nil, fmt.Errorf("an AWS account is a number of 12 digits, got %q", s.Account)
	}
	for _, at := range []*Place{p.Raw, p.Tables} {
		if at != nil && strings.ContainsAny(at.Prefix+p.TopicsDir, "*?$") {
			return nil, nil, fmt.Errorf("a policy cannot name keys that begin with %q: in it *, ? and $ mean other things", at.Prefix+p.TopicsDir)
		}
	}
	grants := p.grants(s, &notes)
	if s.ByUser {
		all = byUser(grants)
	} else {
		all = byBucket(grants, s)
	}
	for _, one := range all {
		if text, err := json.Marshal(one.Policy); err == nil && len(text) > maxPolicy && one.Bucket != "" {
			notes.add("the policy of the bucket %s is larger than the 20 KB that Amazon takes: give groups fewer patterns, or render with --by user", one.Bucket)
		}
	}
	for _, at := range []*Place{p.Raw, p.Tables} {
		if at != nil && !s.ByUser && !slices.ContainsFunc(all, func(one Policy) bool { return one.Bucket == at.Bucket }) {
			notes.add("nobody may read the bucket %s, so it has no policy", at.Bucket)
		}
	}
	return all, notes, nil
}

// grant is what some people may do with some keys of a bucket.
type grant struct {
	sid, bucket string
	who         []string
	actions     []string
	keys        []string // of objects; nil for the bucket itself
	prefixes    []string // with the bucket itself: what may be asked for; nil is all
}

// grants are all, in the order of the layers.
func (p Pipeline) grants(s S3, notes *Notes) (all []grant) {
	if at := p.Raw; at != nil {
		keys := []string{at.Prefix + "_quarantine/*"}
		if p.TopicsDir == "" {
			keys = []string{at.Prefix + "*"}
			if p.Tables != nil && p.Tables.Bucket == at.Bucket && strings.HasPrefix(p.Tables.Prefix, at.Prefix) {
				notes.add("raw objects have no folder of their own (land: topics.dir), and the tables lie below them: who reads the raw layer reads tables, too")
			}
		} else {
			keys = append(keys, at.Prefix+p.TopicsDir+"/*")
		}
		all = append(all, reading("Raw", at.Bucket, p.with(access.Raw), keys)...)
	}
	if at := p.Tables; at != nil {
		who := map[string][]string{}
		var sets [][]string // in the order in which they come first
		for _, id := range p.Who {
			patterns := p.reads(id, notes)
			if len(patterns) == 0 {
				continue
			}
			set := strings.Join(patterns, "\n")
			if who[set] == nil {
				sets = append(sets, patterns)
			}
			who[set] = append(who[set], id.Name)
		}
		for i, patterns := range sets {
			var keys []string
			for _, pattern := range patterns {
				key := at.Prefix + p.Database + "/" + pattern
				if pattern != "*" {
					key += "/*"
				}
				keys = append(keys, key)
			}
			all = append(all, reading(fmt.Sprintf("Tables%d", i+1), at.Bucket, who[strings.Join(patterns, "\n")], keys)...)
		}
		notes.add("tables that were taken over (tables adopt) lie in folders of their own, which are not in the pipeline file: add those by hand")
	}
	if s.Own == "" {
		notes.add("the process's own account is in no policy: say which with --own")
		return all
	}
	for _, layer := range []struct {
		name string
		at   *Place
	}{{"Raw", p.Raw}, {"Tables", p.Tables}} {
		if layer.at == nil {
			continue
		}
		own := grant{sid: "Own" + layer.name, bucket: layer.at.Bucket, who: []string{s.Own}, keys: []string{layer.at.Prefix + "*"}, actions: []string{
			"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload",
		}}
		all = append(all, own, grant{sid: own.sid + "List", bucket: own.bucket, who: own.who, actions: []string{"s3:ListBucket", "s3:ListBucketMultipartUploads"}})
	}
	return all
}

// reading is to list keys and to get them.
func reading(sid, bucket string, who, keys []string) []grant {
	if len(who) == 0 {
		return nil
	}
	return []grant{
		{sid: sid, bucket: bucket, who: who, actions: []string{"s3:GetObject"}, keys: keys},
		{sid: sid + "List", bucket: bucket, who: who, actions: []string{"s3:ListBucket"}, prefixes: keys},
	}
}

func (g grant) statement() Statement {
	s := Statement{Sid: g.sid, Effect: "Allow", Action: g.actions}
	for _, key := range g.keys {
		s.Resource = append(s.Resource, "arn:aws:s3:::"+g.bucket+"/"+key)
	}
	if g.keys == nil {
		s.Resource = []string{"arn:aws:s3:::" + g.bucket}
	}
	if g.prefixes != nil {
		s.Condition = map[string]map[string][]string{"StringLike": {"s3:prefix": g.prefixes}}
	}
	return s
}

func byBucket(grants []grant, s S3) (all []Policy) {
	for _, g := range grants {
		i := slices.IndexFunc(all, func(p Policy) bool { return p.Bucket == g.bucket })
		if i < 0 {
			i, all = len(all), append(all, Policy{Bucket: g.bucket, Policy: Document{Version: "2012-10-17"}})
		}
		statement := g.statement()
		statement.Principal = map[string][]string{"AWS": {}}
		for _, name := range g.who {
			if s.Account != "" && !strings.HasPrefix(name, "arn:") {
				name = "arn:aws:iam::" + s.Account + ":user/" + name
			}
			statement.Principal["AWS"] = append(statement.Principal["AWS"], name)
		}
		all[i].Policy.Statement = append(all[i].Policy.Statement, statement)
	}
	return all
}

func byUser(grants []grant) (all []Policy) {
	for _, g := range grants {
		for _, name := range g.who {
			i := slices.IndexFunc(all, func(p Policy) bool { return p.User == name })
			if i < 0 {
				i, all = len(all), append(all, Policy{User: name, Policy: Document{Version: "2012-10-17"}})
			}
			all[i].Policy.Statement = append(all[i].Policy.Statement, g.statement())
		}
	}
	return all
}
