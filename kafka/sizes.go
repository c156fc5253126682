package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// LogBytes gives how large each Kafka partition's log is on the disk of a broker that has it; of replicas the largest. It needs the right to
// describe the cluster. With an error it gives what is known all the same.
func LogBytes(ctx context.Context, cl *kgo.Client) (Offsets, error) {
	brokers, err := kadm.NewClient(cl).DescribeAllLogDirs(ctx, nil)
	all := Offsets{}
	brokers.Each(func(d kadm.DescribedLogDir) {
		err = errors.Join(err, d.Err)
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			if all[p.Topic] == nil {
				all[p.Topic] = map[int32]int64{}
			}
			all[p.Topic][p.Partition] = max(all[p.Topic][p.Partition], p.Size)
		})
	})
	if err != nil {
		return all, fmt.Errorf("asking Kafka for the sizes of its logs: %w", err)
	}
	return all, nil
}
