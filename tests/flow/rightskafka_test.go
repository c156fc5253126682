package flow

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// commandsSaid are the commands of lines for sh, as sh makes words of them. The programs that they name only say what they were called with.
func commandsSaid(t *testing.T, lines string, env ...string) (all [][]string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"kafka-acls.sh", "kafka-configs.sh"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nprintf '%s\\n' "+name+" \"$@\" ''\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	said, code := shell(t, lines, "env", append(env, "PATH="+dir+":"+os.Getenv("PATH"), "sh", "-eu")...)
	if code != 0 {
		t.Fatalf("sh ended with %d: %s", code, said)
	}
	for one := range strings.SplitSeq(strings.TrimSuffix(said, "\n\n"), "\n\n") {
		all = append(all, strings.Split(one, "\n"))
	}
	return all
}

// option are the values of an option of a command.
func option(words []string, name string) (all []string) {
	for i, word := range words[:len(words)-1] {
		if word == name {
			all = append(all, words[i+1])
		}
	}
	return all
}

// apply does what the commands say, by Kafka's own requests.
func apply(t *testing.T, adm *kadm.Client, words []string) {
	t.Helper()
	if words[0] == "kafka-configs.sh" {
		mechanism, password, _ := strings.Cut(option(words, "--add-config")[0], "=[password=")
		if mechanism != "SCRAM-SHA-512" {
			t.Fatalf("%q", words)
		}
		done, err := adm.AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{{User: option(words, "--entity-name")[0], Mechanism: kadm.ScramSha512, Iterations: 4096, Password: strings.TrimSuffix(password, "]")}})
		if err == nil {
			err = done.Error()
		}
		if err != nil {
			t.Fatalf("%q: %v", words, err)
		}
		return
	}
	acls := kadm.NewACLs().ResourcePatternType(kadm.ACLPatternLiteral).
		MaybeTopics(option(words, "--topic")...).MaybeGroups(option(words, "--group")...).MaybeTransactionalIDs(option(words, "--transactional-id")...).
		MaybeClusters(words[len(words)-1] == "--cluster").MaybeAllow(option(words, "--allow-principal")...).MaybeDeny(option(words, "--deny-principal")...)
	if option(words, "--resource-pattern-type") != nil {
		acls.ResourcePatternType(kadm.ACLPatternPrefixed)
	}
	var operations []kadm.ACLOperation
	for _, name := range option(words, "--operation") {
		operation, err := kmsg.ParseACLOperation(name)
		if err != nil {
			t.Fatalf("%q: %v", words, err)
		}
		operations = append(operations, operation)
	}
	created, err := adm.CreateACLs(t.Context(), acls.Operations(operations...))
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	for _, one := range created {
		if one.Err != nil {
			t.Fatalf("%q: %v", words, one.Err)
		}
	}
}

// TestAccessOnKafka gives Apache Kafka the rendered users and ACLs: the process works by them alone, and everybody may what access: says, until they may more.
func TestAccessOnKafka(t *testing.T) {
	t.Parallel()
	broker := fixture.Kafka(t, fixture.Authorizer)
	p := binary.New(t, binary.Build(t), orders+fmt.Sprintf(`
kafka: {brokers: [%q], sasl: {mechanism: SCRAM-SHA-512, username: pipeline, password: pipeline-marker}, tls: {ca: %q}}
access:
  users:
    ann: {password: ann-marker, groups: [ingestion]}
    bob: {password: bob-marker}
    carl: {password: carl-marker}
    otto: {password: otto-marker}
  raw: [ingestion, carl]
  tables: [bob]
  operate: [ingestion, otto]
`, broker.AddrSASL, filepath.Join(broker.Dir, "ca.pem")))
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	rendered := p.Run(t, nil, "access render", "--for", "kafka").Must(t)
	if strings.Contains(rendered, "marker") {
		t.Errorf("a password is in %s", rendered)
	}
	for _, words := range commandsSaid(t, rendered, "HEADWATER_KAFKA_ANN=ann-marker", "HEADWATER_KAFKA_CARL=carl-marker", "HEADWATER_KAFKA_OTTO=otto-marker", "HEADWATER_KAFKA_PIPELINE=pipeline-marker") {
		apply(t, adm, words)
	}
	last := kadm.NewACLs().Clusters().ResourcePatternType(kadm.ACLPatternAny).Operations(kadm.OpDescribeConfigs).Allow("User:pipeline").AllowHosts()
	binary.Eventually(t, "the broker to know the last of them", func() bool {
		there, err := adm.DescribeACLs(t.Context(), last)
		return err == nil && len(there) == 1 && len(there[0].Described) == 1
	})
	p.Write(t, "in/0.ndjson", []byte("{\"n\":1}\n"))
	p.Run(t, nil, "run", "--once").Must(t)
	if out := p.Run(t, nil, "query", "--format", "csv", "select n from db.orders").Must(t); !strings.HasSuffix(out, "n\n1\n") {
		t.Errorf("query said %s", out)
	}
	verify := func() string {
		t.Helper()
		r := p.Run(t, nil, "access verify")
		if strings.Contains(r.Stdout+r.Stderr, "marker") {
			t.Errorf("a password is told: %s", r.Stdout)
		}
		return r.Stdout + r.Stderr
	}
	lines := func(said string, want ...string) {
		t.Helper()
		squeezed := strings.Join(strings.Fields(said), " ")
		for _, line := range want {
			if !strings.Contains(squeezed, line) {
				t.Errorf("there is no %q in\n%s", line, said)
			}
		}
	}
	said := verify()
	lines(said, "carl kafka come in yes yes", "carl kafka read orders_raw yes yes", "carl kafka write orders_raw no no", "otto kafka read orders_raw no no", "otto kafka write orders_raw yes yes",
		"ann kafka read headwater_cursors yes yes", "ann kafka write headwater_cursors no no", "bob kafka read orders_raw no no", "(nobody) kafka come in no no")
	if strings.Contains(said, "DIFFERS") {
		t.Errorf("something differs in\n%s", said)
	}
	ends, err := adm.ListEndOffsets(t.Context(), "orders_raw")
	if err != nil {
		t.Fatal(err)
	}
	records := int64(0)
	ends.Each(func(o kadm.ListedOffset) { records += o.Offset })

	apply(t, adm, []string{"kafka-acls.sh", "--add", "--allow-principal", "User:otto", "--operation", "Read", "--topic", "orders_raw"})
	apply(t, adm, []string{"kafka-acls.sh", "--add", "--deny-principal", "User:ann", "--operation", "Write", "--topic", "orders_raw"})
	binary.Eventually(t, "the new rights", func() bool { said = verify(); return strings.Count(said, "DIFFERS") == 2 })
	lines(said, "otto kafka read orders_raw yes no DIFFERS", "ann kafka write orders_raw no yes DIFFERS", "rights are not those that the file gives")
	if ends, err = adm.ListEndOffsets(t.Context(), "orders_raw"); err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { records -= o.Offset })
	if records != 0 {
		t.Errorf("%d records were written by looking", -records)
	}
}
