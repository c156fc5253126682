// Package builtin is the one page of registrations: whatever the binary can read from, and keep objects in, has its line here.
package builtin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"headwater/collect"
	"headwater/collect/amqp"
	"headwater/collect/file"
	"headwater/collect/ftp"
	"headwater/collect/kafka"
	"headwater/collect/mqtt"
	"headwater/collect/nats"
	"headwater/collect/pubsub"
	"headwater/collect/push"
	"headwater/collect/redis"
	"headwater/collect/rest"
	"headwater/collect/sftp"
	"headwater/collect/sqs"
	"headwater/collect/websocket"
	"headwater/internal/config"
	"headwater/lake"
	"headwater/lake/azure"
	lakefile "headwater/lake/file"
	"headwater/lake/gcs"
	"headwater/lake/s3"
	"headwater/serialize"
)

// Sources are the kinds of sources that a pipeline file may name.
func Sources() *config.Registry {
	var r config.Registry
	config.Add(&r, "amqp", amqp.DefaultConfig, func(c amqp.Config, env config.Env) (collect.Source, error) {
		return amqp.New(c, env.Name, env.Base, env.Logger), nil
	})
	config.Add(&r, "file", file.DefaultConfig, func(c file.Config, env config.Env) (collect.Source, error) {
		c.Only(env.Look)
		return file.New(c, env.Base, env.Logger), nil
	})
	config.Add(&r, "ftp", ftp.DefaultConfig, func(c ftp.Config, env config.Env) (collect.Source, error) {
		c.Only(env.Look)
		return ftp.New(c, env.Base, env.Logger), nil
	})
	config.Add(&r, "kafka", kafka.DefaultConfig, func(c kafka.Config, env config.Env) (collect.Source, error) {
		if env.Look {
			c.Group = ""
		}
		return kafka.New(c, env.Base, env.Logger), nil
	})
	config.Add(&r, "mqtt", mqtt.DefaultConfig, func(c mqtt.Config, env config.Env) (collect.Source, error) {
		return mqtt.New(c, env.Name, env.Base, env.Logger), nil
	})
	config.Add(&r, "nats", nats.DefaultConfig, func(c nats.Config, env config.Env) (collect.Source, error) {
		return nats.New(c, env.Name, env.Base, env.Logger), nil
	})
	config.Add(&r, "pubsub", pubsub.DefaultConfig, func(c pubsub.Config, env config.Env) (collect.Source, error) {
		c.Only(env.Look)
		return pubsub.New(c, env.Base, env.Logger), nil
	})
	config.Add(&r, "push", push.DefaultConfig, func(c push.Config, env config.Env) (collect.Source, error) {
		s := push.New(c, env.Logger)
		if env.Handle != nil {
			env.Handle(c.HTTPPath(env.Name), s)
		}
		return s, nil
	})
	config.Add(&r, "redis", redis.DefaultConfig, func(c redis.Config, env config.Env) (collect.Source, error) {
		c.Only(env.Look)
		return redis.New(c, env.Name, env.Base, env.Logger), nil
	})
	config.Add(&r, "rest", rest.DefaultConfig, func(c rest.Config, env config.Env) (collect.Source, error) {
		return rest.New(c, env.Base, env.Logger)
	})
	config.Add(&r, "sftp", sftp.DefaultConfig, func(c sftp.Config, env config.Env) (collect.Source, error) {
		c.Only(env.Look)
		return sftp.New(c, env.Base, env.Logger), nil
	})
	config.Add(&r, "sqs", sqs.DefaultConfig, func(c sqs.Config, env config.Env) (collect.Source, error) {
		c.Only(env.Look)
		return sqs.New(c, env.Logger), nil
	})
	config.Add(&r, "websocket", websocket.DefaultConfig, func(c websocket.Config, env config.Env) (collect.Source, error) {
		c.Only(env.Look)
		return websocket.New(c, env.Base, env.Logger), nil
	})
	r.AddLake("azblob", azure.CheckURL)
	r.AddLake("gs", gcs.CheckURL)
	r.AddLake("s3", s3.CheckURL)
	return &r
}

// Store is a lake with what a process does to it as a whole.
type Store interface {
	lake.Store
	// Sweep removes what killed processes have begun and returns how much.
	Sweep(ctx context.Context) (int, error)
	Close() error
}

// OpenStore opens a folder, by its path, or the store of a URL that Sources allows. One that can be opened and cannot be trusted is refused.
func OpenStore(ctx context.Context, location string) (Store, error) {
	if !Remote(location) {
		return opened(lakefile.Open(location))
	}
	scheme, _, _ := strings.Cut(location, "://")
	switch scheme {
	case "azblob":
		return opened(azure.Open(ctx, location))
	case "gs":
		return opened(gcs.Open(ctx, location))
	}
	return opened(s3.Open(ctx, location))
}

// opened keeps a store that is nil from becoming a Store that holds nothing.
func opened[S Store](s S, err error) (Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Remote says that the location is not a folder of this machine.
func Remote(location string) bool { return strings.Contains(location, "://") }

// Trust finds out whether the store keeps the contract of lake.Store where a store that looks alike may not, by writing to it. With bestEffort
// one that overwrites what it should refuse is no error: from then on it looks at what is there before it writes, and trusted is false.
func Trust(ctx context.Context, s Store, bestEffort bool) (trusted bool, err error) {
	probed, ok := s.(interface{ Probe(context.Context) error })
	if !ok {
		return true, nil
	}
	err = probed.Probe(ctx)
	if bucket, is := s.(*s3.Store); is && bestEffort && errors.Is(err, s3.ErrUnconditional) {
		bucket.LookFirst()
		return false, nil
	}
	return err == nil, err
}

// OnSpark is the lake as Spark finds it.
func OnSpark(raw, tables string) (serialize.OnSpark, error) {
	o := serialize.OnSpark{Properties: map[string]string{}}
	for location, at := range map[string]*string{raw: &o.Raw, tables: &o.Tables} {
		scheme, _, remote := strings.Cut(location, "://")
		if remote && scheme != "s3" && scheme != "gs" {
			continue
		}
		*at = Location(location, "s3a")
		if scheme != "s3" || !remote {
			continue
		}
		settings, err := s3.S3A(location)
		if err != nil {
			return o, err
		}
		for key, value := range settings {
			o.Properties["spark.hadoop."+key] = value
		}
	}
	return o, nil
}

// Location is the location as the readers of tables in a Hive Metastore spell it.
func Location(location, s3Scheme string) string {
	if !Remote(location) {
		return "file://" + location
	}
	u, err := url.Parse(location)
	if err != nil {
		panic(fmt.Errorf("a location that was checked: %w", err))
	}
	scheme := u.Scheme
	if scheme == "s3" {
		scheme = s3Scheme
	}
	return scheme + "://" + u.Host + strings.TrimSuffix(u.Path, "/")
}
