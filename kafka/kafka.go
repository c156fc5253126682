// Package kafka is what Headwater does with Kafka: clients, topics, and the log of a source with its cursor.
//
// What enters: records with their position in a header. What leaves: the same records in the topic, and a source's cursor read
// back from the topic. It holds whatever brokers it is given; embedded has the one that is used when none are named.
//
// Invariants:
//  1. The records of a stream have the sequence numbers 0, 1, 2, ... in the topic, whatever failed: one batch of a Kafka partition
//     is on its way at a time, the next is handed to the client when all of the former are acknowledged, and after a failure no more.
//  2. Nothing reads from "earliest": reading starts at an offset that is known, and ends at an end offset taken before.
//  3. The cursor is the last snapshot and the records after its offsets; neither is trusted without the check of Invariant 1.
//
// Neighbours: collect uses SourceLog as its Log, land uses NewClient, the offsets and Trim.
//
// Goroutines: each SourceLog has one that sends, from OpenSource to Close. Clients have their own and stop them on Close.
package kafka

import (
	"encoding/base64"
	"strings"
)

// CursorTopic is the topic of the snapshots of cursors: one Kafka partition, the key is the source. Format: docs/format/cursor.md.
const CursorTopic = "headwater_cursors"

// TopicOf is the topic that a source fills when its configuration names none.
func TopicOf(source string) string { return source + "_raw" }

// SourceOf is the source's name for a topic that somebody else fills. Several topics may have the same one, which the
// configuration's check reports.
func SourceOf(topic string) string {
	name, found := strings.CutSuffix(topic, "raw")
	if found {
		name = strings.TrimSuffix(name, lastOf(name, "._-"))
	}
	if name == "" {
		name = topic
	}
	return strings.Map(nameChar, strings.ToLower(name))
}

// lastOf is the last character of s if set has it.
func lastOf(s, set string) string {
	if s == "" || !strings.Contains(set, s[len(s)-1:]) {
		return ""
	}
	return s[len(s)-1:]
}

func nameChar(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
		return r
	}
	return '_'
}

// encodeID writes a topic id as 22 characters, the way raw objects name the log they come from.
func encodeID(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }
