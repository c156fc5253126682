"""Asks a Hive Metastore through Spark: spark.py THRIFT-URI WAREHOUSE [JARS HADOOP-SETTINGS]. Prints what it saw as JSON."""

import glob
import json
import os
import sys

from pyspark.sql import SparkSession

uri, warehouse = sys.argv[1:3]
builder = SparkSession.builder
if len(sys.argv) > 3:
    builder = builder.config("spark.jars", ",".join(sorted(glob.glob(sys.argv[3] + "/*.jar"))))
    for name, value in json.loads(sys.argv[4]).items():
        builder = builder.config("spark.hadoop." + name, value)
spark = (
    builder.master("local[2]")
    .appName("interop")
    .enableHiveSupport()
    .config("spark.hadoop.hive.metastore.uris", uri)
    .config("spark.sql.warehouse.dir", warehouse)
    .config("spark.sql.sources.partitionOverwriteMode", "dynamic")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.log.level", "ERROR")
    .getOrCreate()
)


def rows(sql):
    return [list(r) for r in spark.sql(sql).collect()]


def files(sql):
    """How many files a query reads."""
    return len(spark.sql(sql).inputFiles())


seen = {
    "tables": [[r[0], r[1]] for r in rows("show tables in air")],
    "types": {f.name: f.dataType.simpleString() for f in spark.table("air.trades").schema},
    "partitions": [r[0] for r in rows("show partitions air.trades")],
    "days": rows("select year, month, day, count(*), sum(qty) from air.trades group by all order by all"),
    "one_day": rows("select count(*), sum(qty), max(Price) from air.trades where year = 2026 and month = 7 and day = 5"),
    "some_days": rows("select count(*) from air.trades where year = 2026 and month = 7 and day in (5, 6) and day <> 6"),
    "nested": rows("select Buyer_Name, tags[0], big, ok from air.trades where id = 1"),
    "raw": rows("select raw_data.Buyer.Name, metadata.source, ingestion_timestamp from air.trades_raw where raw_data.id = 1"),
    "files": files("select id from air.trades where month = 7 and day = 5"),
    "described": [
        [r[0], r[1]]
        for r in rows("describe formatted air.trades")
        if r[0] in ("Type", "Provider", "Partition Provider", "Location")
    ],
}

# What a team does of its own beside our tables.
base = os.path.join(warehouse, "own")
spark.sql(f"create database own location 'file://{base}'")
spark.sql(
    "create external table own.days (id bigint, name string) partitioned by (year int, month int, day int) "
    f"stored as parquet location 'file://{base}/days'"
)
spark.sql("insert into own.days values (1, 'a', 2026, 1, 2), (2, 'b', 2026, 1, 3), (3, 'c', 2026, 1, 3)")
spark.sql("insert overwrite own.days values (4, 'd', 2026, 1, 3)")
seen["own_days"] = rows("select id, day from own.days order by id")
spark.sql("alter table own.days add columns (more struct<Deep:int>)")
spark.sql("alter table own.days add partition (year = 2026, month = 1, day = 9)")
spark.sql("alter table own.days drop partition (year = 2026, month = 1, day = 2)")
seen["own_partitions"] = [r[0] for r in rows("show partitions own.days")]
spark.sql("msck repair table own.days")
seen["own_repaired"] = [r[0] for r in rows("show partitions own.days")]
spark.sql("alter table own.days rename to own.dates")
spark.sql("analyze table own.dates compute statistics")
spark.sql("create view own.view as select id from own.dates")
seen["own_renamed"] = rows("select count(*) from own.view")
(
    spark.table("air.trades")
    .write.mode("overwrite")
    .partitionBy("year", "month", "day")
    .option("path", base + "/copy")
    .saveAsTable("own.copy")
)
seen["own_copy"] = rows("select count(*), sum(qty) from own.copy where day = 5")
seen["own_tables"] = sorted(r[1] for r in rows("show tables in own"))
spark.sql("drop view own.view")
spark.sql("drop table own.dates")
spark.sql("drop database own cascade")
seen["databases"] = sorted(r[0] for r in rows("show databases"))
spark.stop()
json.dump(seen, sys.stdout, default=str)
