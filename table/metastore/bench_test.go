package metastore

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	hms "github.com/beltran/gohive/hive_metastore"
)

// wide makes a table of the columns and partitions, which are as table/hive makes them: with parameters of some kilobytes.
func wide(b *testing.B, c *hms.ThriftHiveMetastoreClient, columns, partitions int) {
	b.Helper()
	tbl := hms.NewTable()
	tbl.DbName, tbl.TableName, tbl.TableType = "default", "days", "EXTERNAL_TABLE"
	for _, key := range []string{"year", "month", "day"} {
		tbl.PartitionKeys = append(tbl.PartitionKeys, &hms.FieldSchema{Name: key, Type: "int"})
	}
	tbl.Sd = &hms.StorageDescriptor{SerdeInfo: hms.NewSerDeInfo(), InputFormat: "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat", Location: "s3a://lake/tables/default/days"}
	for i := range columns {
		tbl.Sd.Cols = append(tbl.Sd.Cols, &hms.FieldSchema{Name: fmt.Sprintf("column_%d", i), Type: "string"})
	}
	if err := c.CreateTable(b.Context(), tbl); err != nil {
		b.Fatal(err)
	}
	var ps []*hms.Partition
	for i := range partitions {
		values := []string{fmt.Sprint(2000 + i/365), fmt.Sprint(i / 31 % 12), fmt.Sprint(i % 365)}
		ps = append(ps, &hms.Partition{DbName: "default", TableName: "days", Values: values, Sd: tbl.Sd, Parameters: map[string]string{
			"headwater.schema.part.0": strings.Repeat("x", 30*columns), "headwater.key": "default/days/part-00000.snappy.parquet", "numRows": "180000", "totalSize": "12345678",
		}})
	}
	if _, err := c.AddPartitionsReq(b.Context(), &hms.AddPartitionsRequest{DbName: "default", TblName: "days", Parts: ps}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPartitions lists 10,000 partitions of 30 columns over TCP, each way that clients have; the client's own decoding is in it. docs/limits.md has results.
func BenchmarkPartitions(b *testing.B) {
	m := open(b, inFile(b), io.Discard)
	c, ctx := client(b, m), b.Context()
	wide(b, c, 30, 10_000)
	names, err := c.GetPartitionNames(ctx, "default", "days", -1)
	if err != nil || len(names) != 10_000 {
		b.Fatal(len(names), err)
	}
	for name, list := range map[string]func(*hms.ThriftHiveMetastoreClient) (int, error){
		"all": func(c *hms.ThriftHiveMetastoreClient) (int, error) {
			ps, err := c.GetPartitions(ctx, "default", "days", -1)
			return len(ps) / 10_000, err
		},
		"by_names": func(c *hms.ThriftHiveMetastoreClient) (int, error) {
			ps, err := c.GetPartitionsByNames(ctx, "default", "days", names)
			return len(ps) / 10_000, err
		},
		"names": func(c *hms.ThriftHiveMetastoreClient) (int, error) {
			ns, err := c.GetPartitionNames(ctx, "default", "days", -1)
			return len(ns) / 10_000, err
		},
		"by_filter_all": func(c *hms.ThriftHiveMetastoreClient) (int, error) {
			ps, err := c.GetPartitionsByFilter(ctx, "default", "days", "year >= 2000", -1)
			return len(ps) / 10_000, err
		},
		"by_filter_one": func(c *hms.ThriftHiveMetastoreClient) (int, error) {
			ps, err := c.GetPartitionsByFilter(ctx, "default", "days", "year = 2003 and day = 7", -1)
			return len(ps), err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if n, err := list(c); n != 1 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
	b.Run("100_clients_by_filter_one", func(b *testing.B) {
		cs := make([]*hms.ThriftHiveMetastoreClient, 100)
		for i := range cs {
			cs[i] = client(b, m)
		}
		for b.Loop() {
			var wg sync.WaitGroup
			for _, c := range cs {
				wg.Go(func() {
					if ps, err := c.GetPartitionsByFilter(ctx, "default", "days", "year = 2003 and day = 7", -1); len(ps) != 1 || err != nil {
						b.Error(len(ps), err)
					}
				})
			}
			wg.Wait()
		}
	})
}
