package rights

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"headwater/internal/access"
)

// Kafka is how commands for a broker are written.
type Kafka struct {
	// Brokers are host:port; without, the commands take $BOOTSTRAP.
	Brokers []string
	// Own is the process's user.
	Own string
	// Mechanism is the SCRAM mechanism of the users' passwords; without one of SCRAM, users are made elsewhere.
	Mechanism string
}

// OwnPrefix begins the names of topics, groups and transactions that are the process's.
const OwnPrefix = "headwater"

// Variable is the name of an environment variable for somebody: HEADWATER_S3_ANN.
func Variable(prefix, name string) string {
	return prefix + strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		return '_'
	}, name)
}

// Commands are those of kafka-configs.sh and kafka-acls.sh, a line each, for sh.
func (p Pipeline) Commands(k Kafka) (lines []string, notes Notes, err error) {
	if k.Own == "" {
		return nil, nil, errors.New("the process's own user is not known: write kafka.sasl.username, or say it with --own")
	}
	if slices.ContainsFunc(p.Who, func(id access.Identity) bool { return id.Name == k.Own }) {
		notes.add("%s is the process and a user of access:, too: who has that password may whatever the process may", k.Own)
	}
	lines = p.passwords(k, &notes)
	acl := func(who []string, resource string, operations ...string) {
		if len(who) == 0 {
			return
		}
		var b strings.Builder
		fmt.Fprintf(&b, "kafka-acls.sh %s --add", k.server())
		for _, name := range who {
			fmt.Fprintf(&b, " --allow-principal %s", quote("User:"+name))
		}
		for _, operation := range operations {
			b.WriteString(" --operation " + operation)
		}
		lines = append(lines, b.String()+" "+resource)
	}
	raw, operate, own := p.with(access.Raw), p.with(access.Operate), []string{k.Own}
	topics := slices.Sorted(slices.Values(append(slices.Clone(p.Topics), p.Foreign...)))
	readable, writable := topicsOf(append(slices.Clone(topics), p.Own...)), topicsOf(slices.DeleteFunc(slices.Clone(topics), func(t string) bool { return strings.HasPrefix(t, OwnPrefix) }))
	acl(raw, readable, "Read", "Describe", "DescribeConfigs")
	acl(raw, "--group '*'", "Read", "Describe")
	for _, name := range raw {
		lines = append(lines, fmt.Sprintf("kafka-acls.sh %s --add --deny-principal %s --operation Read --group %s --resource-pattern-type prefixed", k.server(), quote("User:"+name), OwnPrefix))
	}
	if writable != "" {
		acl(operate, writable, "Write", "Create", "Alter", "AlterConfigs", "Describe", "DescribeConfigs")
	}
	acl(operate, "--group '*'", "Describe")
	acl(operate, "--cluster", "IdempotentWrite")
	acl(slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(raw), operate...)))), "--cluster", "Describe")
	if len(p.Topics) > 0 {
		acl(own, topicsOf(slices.Sorted(slices.Values(p.Topics))), "Read", "Write", "Create", "Describe", "DescribeConfigs")
	}
	if len(p.Foreign) > 0 {
		acl(own, topicsOf(slices.Sorted(slices.Values(p.Foreign))), "Read", "Describe", "DescribeConfigs")
	}
	acl(own, "--topic "+OwnPrefix+"_ --resource-pattern-type prefixed", "Read", "Write", "Create", "Describe", "DescribeConfigs")
	acl(own, "--group "+OwnPrefix+" --resource-pattern-type prefixed", "All")
	acl(own, "--transactional-id "+OwnPrefix+". --resource-pattern-type prefixed", "Write", "Describe")
	acl(own, "--cluster", "IdempotentWrite", "Describe", "DescribeConfigs")
	if p.TopicsRegex != "" {
		notes.add("which topics of others match topics.regex (%s) is not in the pipeline file: nothing here lets anybody, nor the process, read them; name them under land: topics, or as sources of the kind external, or add them by hand", p.TopicsRegex)
	}
	if len(raw) > 0 {
		notes.add("that groups beginning with %s are not for people takes a line that denies: it denies the process, too, if its user is one of them", OwnPrefix)
	}
	notes.add("the broker must have an authorizer (authorizer.class.name), and allow.everyone.if.no.acl.found must not be true")
	return lines, notes, nil
}

// passwords are the lines that give users their passwords, which come from the environment.
func (p Pipeline) passwords(k Kafka, notes *Notes) (lines []string) {
	if !strings.HasPrefix(k.Mechanism, "SCRAM-") {
		notes.add("kafka.sasl.mechanism is %s: users and passwords are made where the broker has them, not here", k.Mechanism)
		return nil
	}
	taken := map[string]string{}
	var names []string
	for _, id := range p.Who {
		if id.May(access.Raw, access.Operate) {
			names = append(names, id.Name)
		}
	}
	if !slices.Contains(names, k.Own) {
		names = append(names, k.Own)
	}
	for _, name := range names {
		variable := Variable("HEADWATER_KAFKA_", name)
		if other := taken[variable]; other != "" {
			notes.add("%s and %s have their passwords from one variable, %s: change one of the lines", other, name, variable)
		}
		taken[variable] = name
		lines = append(lines, fmt.Sprintf(`kafka-configs.sh %s --alter --entity-type users --entity-name %s --add-config "%s=[password=${%s:?}]"`, k.server(), quote(name), k.Mechanism, variable))
	}
	notes.add("passwords are not printed: set HEADWATER_KAFKA_USER for each user to the password that access: has; kafka-configs.sh takes none with a comma or ] in it")
	return lines
}

// server is how the commands find the broker, and who asks it.
func (k Kafka) server() string {
	at := `"$BOOTSTRAP"`
	if len(k.Brokers) > 0 {
		at = quote(strings.Join(k.Brokers, ","))
	}
	return "--bootstrap-server " + at + ` --command-config "${ADMIN_CONFIG:-/dev/null}"`
}

func topicsOf(names []string) string {
	var all []string
	for _, name := range slices.Compact(names) {
		all = append(all, "--topic "+quote(name))
	}
	return strings.Join(all, " ")
}

// quote writes a word for sh.
func quote(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:,/@") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
