package embedded

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/internal/access"
)

// role is what a visitor may, in the place of a host.
type role string

// Network implements net.Addr.
func (role) Network() string { return "tcp" }

func (r role) String() string { return string(r) }

// The roles.
var (
	nobody role = "nobody"
	reads  role = "raw"
	works  role = "operate"
	both   role = "raw+operate"
	itself role = access.Itself
)

func roleOf(id access.Identity) role {
	switch {
	case id.Name == access.Itself:
		return itself
	case id.May(access.Raw) && id.May(access.Operate):
		return both
	case id.May(access.Raw):
		return reads
	case id.May(access.Operate):
		return works
	}
	return nobody
}

// needs has the scopes of which one is needed for a request, none for what everybody may ask. What is not here is the process's alone.
var needs = map[kmsg.Key][]access.Scope{
	kmsg.ApiVersions: {}, kmsg.GetTelemetrySubscriptions: {}, kmsg.PushTelemetry: {},

	kmsg.Metadata: {access.Raw, access.Operate}, kmsg.DescribeCluster: {access.Raw, access.Operate}, kmsg.ListOffsets: {access.Raw, access.Operate},
	kmsg.DescribeTopicPartitions: {access.Raw, access.Operate}, kmsg.DescribeConfigs: {access.Raw, access.Operate}, kmsg.DescribeLogDirs: {access.Raw, access.Operate},
	kmsg.FindCoordinator: {access.Raw, access.Operate}, kmsg.DescribeGroups: {access.Raw, access.Operate}, kmsg.ListGroups: {access.Raw, access.Operate},
	kmsg.ConsumerGroupDescribe: {access.Raw, access.Operate}, kmsg.OffsetFetch: {access.Raw, access.Operate}, kmsg.OffsetForLeaderEpoch: {access.Raw, access.Operate},

	kmsg.Fetch: {access.Raw}, kmsg.OffsetCommit: {access.Raw}, kmsg.JoinGroup: {access.Raw}, kmsg.SyncGroup: {access.Raw}, kmsg.Heartbeat: {access.Raw},
	kmsg.LeaveGroup: {access.Raw}, kmsg.ConsumerGroupHeartbeat: {access.Raw},

	kmsg.Produce: {access.Operate}, kmsg.InitProducerID: {access.Operate}, kmsg.CreateTopics: {access.Operate}, kmsg.CreatePartitions: {access.Operate},
	kmsg.AlterConfigs: {access.Operate}, kmsg.IncrementalAlterConfigs: {access.Operate},
}

// rule is one of kfake's ACLs, as its acls.json has them.
type rule struct {
	Principal  string `json:"principal"`
	Host       string `json:"host"`
	Resource   int8   `json:"resource_type"`
	Name       string `json:"resource_name"`
	Pattern    int8   `json:"pattern"`
	Operation  int8   `json:"operation"`
	Permission int8   `json:"permission"`
}

// own begins the names of what is the process's alone to write: its topics, and its consumer groups, whose members take records from it.
const own = "headwater"

// rules are what each role may. Nobody but the process deletes records, topics and groups.
func rules() (all []rule) {
	const topic, group, cluster = kmsg.ACLResourceTypeTopic, kmsg.ACLResourceTypeGroup, kmsg.ACLResourceTypeCluster
	allow := func(r role, of kmsg.ACLResourceType, operations ...kmsg.ACLOperation) {
		name := "*"
		if of == cluster {
			name = "kafka-cluster"
		}
		for _, o := range operations {
			all = append(all, rule{"User:*", string(r), int8(of), name, int8(kmsg.ACLResourcePatternTypeLiteral), int8(o), int8(kmsg.ACLPermissionTypeAllow)})
		}
	}
	deny := func(r role, of kmsg.ACLResourceType, operations ...kmsg.ACLOperation) {
		for _, o := range operations {
			all = append(all, rule{"User:*", string(r), int8(of), own, int8(kmsg.ACLResourcePatternTypePrefixed), int8(o), int8(kmsg.ACLPermissionTypeDeny)})
		}
	}
	for _, r := range []role{reads, both} {
		allow(r, topic, kmsg.ACLOperationRead, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs)
		allow(r, group, kmsg.ACLOperationRead, kmsg.ACLOperationDescribe)
		allow(r, cluster, kmsg.ACLOperationDescribe)
		deny(r, group, kmsg.ACLOperationRead)
	}
	for _, r := range []role{works, both} {
		changes := []kmsg.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationCreate, kmsg.ACLOperationAlter, kmsg.ACLOperationAlterConfigs}
		allow(r, topic, append(changes, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs)...)
		allow(r, group, kmsg.ACLOperationDescribe)
		allow(r, cluster, kmsg.ACLOperationDescribe, kmsg.ACLOperationIdempotentWrite)
		deny(r, topic, changes...)
	}
	for _, of := range []kmsg.ACLResourceType{topic, group, cluster, kmsg.ACLResourceTypeTransactionalId} {
		allow(itself, of, kmsg.ACLOperationAll)
	}
	return all
}

// writeRules writes what each role may where kfake reads it. It asks for its ACLs only where there is a broker already, so a folder without one gets the least
// that is one.
func writeRules(dir string) error {
	meta := filepath.Join(dir, "meta.json")
	if _, err := os.Stat(meta); errors.Is(err, fs.ErrNotExist) {
		if err := writeFile(meta, map[string]any{"version": formatVersion, "cluster_id": newID()}); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "acls.json"), map[string]any{"version": formatVersion, "acls": rules()})
}
