package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/internal/retry"
)

// coordinated asks the coordinator of a group, again while there is none yet: a cluster that has just begun makes the topic of its groups' offsets when
// it is first asked, and one whose broker has ended chooses another.
func coordinated[R interface{ Error() error }](ctx context.Context, ask func() (R, error)) (R, error) {
	mayPass := func(err error) bool {
		return errors.Is(err, kerr.CoordinatorNotAvailable) || errors.Is(err, kerr.NotCoordinator) || errors.Is(err, kerr.CoordinatorLoadInProgress)
	}
	return retry.Times(ctx, 10, mayPass, func() (R, error) {
		r, err := ask()
		if err == nil {
			err = r.Error()
		}
		return r, err
	})
}

// Members names those who are in a consumer group of either protocol, by client and host. A group that does not exist has none.
func Members(ctx context.Context, cl *kgo.Client, group string) (members []string, err error) {
	adm := kadm.NewClient(cl)
	classic, err := coordinated(ctx, func() (kadm.DescribedGroups, error) { return adm.DescribeGroups(ctx, group) })
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("asking Kafka for the members of group %s: %w", group, err)
	}
	for _, m := range classic[group].Members {
		members = append(members, m.ClientID+" at "+m.ClientHost)
	}
	if err == nil && classic[group].State != "Dead" {
		return members, nil
	}
	// A group of the newer protocol is none to those who ask for the older one, or a dead one.
	const describeConsumerGroups = 69
	brokers, err := adm.ApiVersions(ctx)
	known := false
	brokers.Each(func(b kadm.BrokerApiVersions) {
		_, knows := b.KeyMaxVersion(describeConsumerGroups)
		known = known || knows
	})
	if err != nil || !known {
		return nil, err
	}
	newer, err := coordinated(ctx, func() (kadm.DescribedConsumerGroups, error) { return adm.DescribeConsumerGroups(ctx, group) })
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) && !errors.Is(err, kerr.UnsupportedVersion) {
		return nil, fmt.Errorf("asking Kafka for the members of group %s: %w", group, err)
	}
	for _, m := range newer[group].Members {
		members = append(members, m.ClientID+" at "+m.ClientHost)
	}
	return members, nil
}

// Commit is a committed offset, with what was noted beside it.
type Commit struct {
	Offset int64
	Note   string
}

// Commits gives what a consumer group has committed; a Kafka partition without a commit is not in it.
func Commits(ctx context.Context, cl *kgo.Client, group string) (map[string]map[int32]Commit, error) {
	responses, err := coordinated(ctx, func() (kadm.OffsetResponses, error) { return kadm.NewClient(cl).FetchOffsets(ctx, group) })
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("asking Kafka for the offsets of group %s: %w", group, err)
	}
	all := map[string]map[int32]Commit{}
	responses.Each(func(r kadm.OffsetResponse) {
		if r.At < 0 {
			return
		}
		if all[r.Topic] == nil {
			all[r.Topic] = map[int32]Commit{}
		}
		all[r.Topic][r.Partition] = Commit{r.At, r.Metadata}
	})
	return all, nil
}

// SetCommits commits for a consumer group that has no members; Kafka refuses it of one that has.
func SetCommits(ctx context.Context, cl *kgo.Client, group string, commits map[string]map[int32]Commit) error {
	offsets := kadm.Offsets{}
	for topic, partitions := range commits {
		for p, c := range partitions {
			offsets.Add(kadm.Offset{Topic: topic, Partition: p, At: c.Offset, LeaderEpoch: -1, Metadata: c.Note})
		}
	}
	if _, err := coordinated(ctx, func() (kadm.OffsetResponses, error) { return kadm.NewClient(cl).CommitOffsets(ctx, group, offsets) }); err != nil {
		return fmt.Errorf("committing for group %s, which must have no members: %w", group, err)
	}
	return nil
}

// DeleteCommits has a consumer group without members forget what it has committed of these Kafka partitions.
func DeleteCommits(ctx context.Context, cl *kgo.Client, group string, of map[string][]int32) error {
	set := kadm.TopicsSet{}
	for topic, partitions := range of {
		set.Add(topic, partitions...)
	}
	if _, err := coordinated(ctx, func() (kadm.DeleteOffsetsResponses, error) { return kadm.NewClient(cl).DeleteOffsets(ctx, group, set) }); err != nil {
		return fmt.Errorf("deleting the offsets of group %s, which must have no members: %w", group, err)
	}
	return nil
}
