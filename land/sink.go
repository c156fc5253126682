package land

import (
	"slices"
	"strings"
)

// Verdict is what becomes of a key of the Kafka Connect S3 sink.
type Verdict string

// The verdicts. Same has what the key asks for, Better more than that; Ignored changes nothing in the lake, or is to be said elsewhere;
// of Refused there is nothing that would take its place.
const (
	Same    Verdict = "same"
	Better  Verdict = "better"
	Ignored Verdict = "ignored"
	Refused Verdict = "refused"
)

// sinkKey is a rule for a key that Config has not.
type sinkKey struct {
	verdict Verdict
	why     string
	// same are values that ask for what happens anyway.
	same []string
}

const (
	untilItSucceeds = "what fails is tried again until it succeeds, while other Kafka partitions go on"
	noOtherFormat   = "it is about other formats than JSON"
	keysNotStored   = "keys and headers of records are not stored beside the objects; a source that is external with envelope: none has them in its metadata"
	inURL           = "goes into lake.raw, as ?"
	outOfFile       = "credentials are never in the file: they come from the environment, a profile (?profile= in lake.raw) or the machine's role"
	buffers         = "memory is bounded for all open objects together, by max.memory"
	inQuarantine    = "records that cannot land are whole in the lake's quarantine, with the reason, and hold nothing up (docs/format/quarantine.md)"
	ofKafka         = "say it under kafka, and passwords as ${NAME}"
	ofFolders       = "folders may be late, early or interleaved: a record of another folder closes nothing"
	noTransforms    = "records land as they are: what transforms would change is changed in SQL, on the tables"
)

// sinkKeys are the keys of the connector and of the framework around it; those that end in a dot are the beginnings of keys.
var sinkKeys = map[string]sinkKey{
	"name":                 {Same, "it is the connector's own name", nil},
	"connector.class":      {Refused, "only io.confluent.connect.s3.S3SinkConnector has a counterpart here", []string{"io.confluent.connect.s3.S3SinkConnector", "S3SinkConnector"}},
	"tasks.max":            {Ignored, "one process lands all Kafka partitions at once, and those that run headwater land share them", nil},
	"storage.class":        {Refused, "lake.raw says where objects go", []string{"io.confluent.connect.s3.storage.S3Storage", "S3Storage"}},
	"config.action.reload": {Ignored, "it is about secrets that a worker looks up", nil},

	"s3.bucket.name":                    {Same, "goes into lake.raw, as s3://bucket/folder?region=eu-west-1 (docs/lake.md)", nil},
	"s3.region":                         {Same, "goes into lake.raw, as ?region=eu-west-1", nil},
	"store.url":                         {Same, "goes into lake.raw, as ?endpoint=https://s3.example.com", nil},
	"s3.path.style.access.enabled":      {Ignored, "with ?endpoint= the bucket is part of the path, and at Amazon it makes no difference", []string{"true"}},
	"s3.wan.mode":                       {Ignored, "objects arrive in the same bucket, on the ordinary way", []string{"false"}},
	"s3.part.size":                      {Better, buffers, nil},
	"s3.elastic.buffer.enable":          {Better, buffers, nil},
	"s3.elastic.buffer.init.capacity":   {Better, buffers, nil},
	"s3.part.retries":                   {Better, untilItSucceeds, nil},
	"s3.retry.backoff.ms":               {Better, untilItSucceeds, nil},
	"retry.backoff.ms":                  {Better, untilItSucceeds, nil},
	"s3.http.send.expect.continue":      {Ignored, "it is about how a request begins", nil},
	"s3.send.digest":                    {Better, "every part has a checksum", nil},
	"s3.proxy.":                         {Ignored, "a proxy is taken from the environment, HTTPS_PROXY", nil},
	"s3.acl.canned":                     {Same, inURL + "acl=bucket-owner-full-control", []string{""}},
	"s3.ssea.name":                      {Same, inURL + "sse=aws:kms", []string{""}},
	"s3.sse.kms.key.id":                 {Same, inURL + "kms_key=ID, beside sse=aws:kms", []string{""}},
	"s3.sse.customer.key":               {Refused, "whoever reads an object would have to send the key, Spark, Hive and query too: have the store keep it, " + "?sse=aws:kms&kms_key=ID in lake.raw", []string{""}},
	"s3.credentials.provider.":          {Ignored, outOfFile, nil},
	"aws.access.key.id":                 {Ignored, outOfFile, nil},
	"aws.secret.access.key":             {Ignored, outOfFile, nil},
	"s3.object.tagging.key.value.pairs": {Same, inURL + "tags=team:data,env:prod", []string{""}},
	"s3.object.behavior.":               {Better, "an object and its tags are put by one request: there is none without them", nil},

	"max.write.duration.ms":           {Better, "a slow store pauses its own Kafka partition and costs nobody the membership of the group", nil},
	"enable.conditional.writes":       {Better, "objects are always put on condition that their key is free, and a record lands once", nil},
	"max.files.scan.limit":            {Better, "what has landed is found whatever there is", nil},
	"rotate.file.on.partition.change": {Better, ofFolders, []string{"false"}},
	"report.null.values.to.dlq":       {Better, "null values are where all records are that cannot land: in the lake's quarantine, and in the topic of dead letters if there is one", []string{"true"}},
	"tombstone.encoded.partition":     {Ignored, "it goes with behavior.on.null.values: write", nil},
	"store.kafka.keys":                {Refused, keysNotStored, []string{"false"}},
	"store.kafka.headers":             {Refused, keysNotStored, []string{"false"}},
	"keys.format.class":               {Ignored, "it goes with store.kafka.keys", nil},
	"headers.format.class":            {Ignored, "it goes with store.kafka.headers", nil},
	"format.bytearray.":               {Ignored, "it goes with ByteArrayFormat", nil},

	"s3.schema.partition.affix.type": {Refused, "records of JSON name no schema", []string{"", "NONE"}},
	"schema.compatibility":           {Better, "records have no schema, and serialize brings the days of a table together", []string{"NONE"}},
	"schema.cache.size":              {Ignored, noOtherFormat, nil},
	"schemas.cache.config":           {Ignored, noOtherFormat, nil},
	"schema.generator.class":         {Ignored, noOtherFormat, nil},
	"json.decimal.format":            {Ignored, "numbers are spelled as the record spells them", nil},
	"avro.codec":                     {Ignored, noOtherFormat, nil},
	"parquet.codec":                  {Ignored, noOtherFormat, nil},
	"connect.meta.data":              {Ignored, noOtherFormat, nil},
	"enhanced.avro.schema.support":   {Ignored, noOtherFormat, nil},
	"allow.optional.map.keys":        {Ignored, noOtherFormat, nil},
	"value.subject.name.strategy":    {Ignored, noOtherFormat, nil},
	"key.subject.name.strategy":      {Ignored, noOtherFormat, nil},
	"key.converter":                  {Ignored, "keys are not stored", nil},
	"key.converter.":                 {Ignored, "keys are not stored", nil},
	"header.converter":               {Ignored, "headers are not stored", nil},
	"header.converter.":              {Ignored, "headers are not stored", nil},
	"value.converter":                {Refused, "raw objects are lines of JSON, and these records are not: have their producers write JSON, or collect them with a program that does", []string{jsonConverter}},
	"value.converter.":               {Ignored, "it goes with a converter, and records land as they are", nil},
	"value.converter.schemas.enable": {Refused, "records would land with their schemas around them, which JsonConverter takes off: have the producers leave them out, and write false", []string{"false"}},
	"transforms":                     {Refused, noTransforms, []string{""}},
	"transforms.":                    {Ignored, "it goes with transforms", nil},
	"predicates":                     {Ignored, "it goes with transforms", nil},
	"predicates.":                    {Ignored, "it goes with transforms", nil},
	"errors.tolerance":               {Better, inQuarantine, []string{"all"}},
	"errors.log.":                    {Better, inQuarantine, nil},
	"errors.retry.":                  {Better, untilItSucceeds, nil},
	"consumer.override.group.id":     {Ignored, "the group is " + DefaultGroup + "; its offsets say what has landed", nil},
	"consumer.override.isolation.":   {Refused, "what a transaction has aborted does not land", []string{"read_committed"}},
	"consumer.override.auto.offset.": {Refused, "without a committed offset landing begins at the start of the topic", []string{"earliest"}},
	"consumer.override.sasl.":        {Ignored, ofKafka, nil},
	"consumer.override.ssl.":         {Ignored, ofKafka, nil},
	"consumer.override.security.":    {Ignored, ofKafka, nil},
	"consumer.override.bootstrap.":   {Ignored, "say it as kafka.brokers", nil},
	"consumer.override.":             {Ignored, "it tunes another client", nil},
	"producer.override.":             {Ignored, "it tunes another client", nil},
	"admin.override.":                {Ignored, "it tunes another client", nil},
	"reporter.":                      {Ignored, inQuarantine, nil},
	"confluent.":                     {Ignored, "it is about the connector's licence", nil},
}

const jsonConverter = "org.apache.kafka.connect.json.JsonConverter"

// SinkKey is what becomes of a connector's key that Config has not, and of its value; known is false if there is no such key.
func SinkKey(key, value string) (v Verdict, why string, known bool) {
	rule, known := sinkKeys[key]
	for begin := key; !known && begin != ""; {
		begin = begin[:strings.LastIndexByte(strings.TrimSuffix(begin, "."), '.')+1]
		rule, known = sinkKeys[begin]
	}
	switch {
	case !known:
		return Refused, "the connector has no such key", false
	case slices.ContainsFunc(rule.same, func(s string) bool { return strings.EqualFold(s, value) }): // booleans are taken in any case
		return Same, "", true
	}
	return rule.verdict, rule.why, true
}

// Unknown is what a pipeline file is told of a key that Config has not; empty if it is none of the connector's either.
func (c *Config) Unknown(key string) string {
	_, why, known := SinkKey(key, "?")
	if !known {
		return ""
	}
	return "is the connector's and none here: " + why
}
