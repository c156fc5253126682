package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"

	"headwater/internal/access"
	"headwater/internal/config"
	"headwater/internal/rights"
	"headwater/kafka"
	"headwater/lake/s3"
	"headwater/serialize"
	"headwater/table"
)

// runAccessRender prints what an administrator of another server applies there. What that cannot say goes to the other stream, as comments.
func runAccessRender(_ context.Context, fs *flag.FlagSet, args []string, s streams) error {
	server := fs.String("for", "", "s3, kafka or hive")
	account := fs.String("account", "", "s3: the number of an AWS account, whose users the principals are; without, they are bare names")
	own := fs.String("own", "", "s3, kafka: the process's own account there (of Kafka, kafka.sasl.username by default)")
	by := fs.String("by", "bucket", "s3: policies of each bucket, or of each user")
	cfg, err := parsePipeline(fs, args)
	if err != nil {
		return err
	}
	if cfg.Access == nil {
		return errNoAccess(cfg)
	}
	if *by != "bucket" && *by != "user" {
		return usagef("--by must be bucket or user, got %q", *by)
	}
	p, err := rightsOf(cfg)
	if err != nil {
		return err
	}
	var notes rights.Notes
	var lines []string
	switch *server {
	case "s3":
		var policies []rights.Policy
		policies, notes, err = p.Policies(rights.S3{Account: *account, Own: *own, ByUser: *by == "user"})
		urls := cfg.Lake.Raw + " " + cfg.Lake.Tables
		if cfg.Land.ObjectTagging || slices.ContainsFunc([]string{"tags=", "acl=", "sse="}, func(key string) bool { return strings.Contains(urls, key) }) {
			notes = append(notes, "the process's account needs further rights for tags, acl or sse, which are not here (docs/lake.md)")
		}
		for _, one := range policies {
			text, jerr := json.MarshalIndent(one, "", "  ")
			if jerr != nil {
				return fmt.Errorf("writing a policy: %w", jerr)
			}
			lines = append(lines, string(text))
		}
	case "kafka":
		k := rights.Kafka{Brokers: cfg.Kafka.Brokers, Own: *own, Mechanism: mechanism(cfg)}
		if sasl := cfg.Kafka.SASL; k.Own == "" && sasl != nil {
			k.Own = sasl.Username
		}
		lines, notes, err = p.Commands(k)
	case "hive":
		lines, notes, err = rights.Grants(cfg.Access, p)
	default:
		return usagef("--for must be s3, kafka or hive, got %q", *server)
	}
	if err != nil {
		return usageError{err.Error()}
	}
	for _, note := range notes {
		fmt.Fprintln(s.err, "#", note)
	}
	_, err = fmt.Fprint(s.out, strings.Join(append(lines, ""), "\n"))
	return err
}

// mechanism is how users say who they are to Kafka.
func mechanism(cfg *config.Pipeline) string {
	if sasl := cfg.Kafka.SASL; sasl != nil {
		return sasl.Mechanism
	}
	return "SCRAM-SHA-512"
}

// rightsOf is what there is to have rights to, as far as the file says.
func rightsOf(cfg *config.Pipeline) (rights.Pipeline, error) {
	p := rights.Pipeline{
		Who: access.New(*cfg.Access).Identities(), TopicsDir: cfg.Land.TopicsDir, Database: cfg.Database, TopicsRegex: cfg.Land.TopicsRegex,
		Own: []string{kafka.ClockTopic, kafka.CursorTopic, kafka.SourcesTopic},
	}
	for _, layer := range []struct {
		url  string
		into **rights.Place
	}{{cfg.Lake.Raw, &p.Raw}, {cfg.Lake.Tables, &p.Tables}} {
		if !strings.HasPrefix(layer.url, "s3://") {
			continue
		}
		bucket, prefix, err := s3.Place(layer.url)
		if err != nil {
			return p, fmt.Errorf("reading the URL of a layer: it %w", err)
		}
		*layer.into = &rights.Place{Bucket: bucket, Prefix: prefix}
	}
	for _, source := range cfg.Sources {
		if source.Kind == config.External {
			p.Foreign = append(p.Foreign, source.Topic)
		} else {
			p.Topics = append(p.Topics, source.Topic)
		}
		if cfg.Serialize.Engine != serialize.NoEngine {
			p.Known = append(p.Known, source.RawTable, source.FlatTable)
		}
	}
	for _, topic := range cfg.Land.Topics {
		if !slices.Contains(p.Topics, topic) && !slices.Contains(p.Foreign, topic) {
			p.Foreign = append(p.Foreign, topic)
		}
	}
	if len(cfg.Land.Topics) > 0 {
		p.TopicsRegex = ""
	}
	if topic := cfg.Land.DeadLetterTopic; topic != "" {
		p.Topics = append(p.Topics, topic)
	}
	if name := cfg.Serialize.DaysTable; name != "" && cfg.Serialize.Engine != serialize.NoEngine {
		p.Known = append(p.Known, table.Name{Database: cfg.Database, Table: name})
	}
	return p, nil
}
