"""A job on Spark that makes two tables of a day's raw objects, and whoever reads them: adopt.py THRIFT-URI WAREHOUSE RAW TABLES.

Each line of its input is a JSON array, and is answered with a line of JSON:
["job", SOURCE, DAY, STRINGS] makes the tables of a day, ["read", TABLE, COLUMNS] says what there is, ["sql", STATEMENT] does that.
"""

import json
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

uri, warehouse, raw, tables = sys.argv[1:5]
spark = (
    SparkSession.builder.master("local[2]")
    .appName("adopt")
    .enableHiveSupport()
    .config("spark.hadoop.hive.metastore.uris", uri)
    .config("spark.sql.warehouse.dir", warehouse)
    .config("spark.sql.sources.partitionOverwriteMode", "dynamic")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", "2")
    # Days of three rows are not worth compiling for.
    .config("spark.sql.codegen.wholeStage", "false")
    .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    .config("spark.sql.adaptive.enabled", "false")
    .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.log.level", "ERROR")
    .getOrCreate()
)


def job(source, day, strings):
    records = spark.read.json(f"{raw}/topics/{source}_raw/date=2026-07-{day:02d}")
    at = (F.col("ingestion_timestamp") / 1000).cast("timestamp")
    if strings:
        parts = {"year": F.date_format(at, "yyyy"), "month": F.date_format(at, "MM"), "day": F.date_format(at, "dd")}
    else:
        parts = {"year": F.year(at), "month": F.month(at), "day": F.dayofmonth(at)}
    records = records.withColumns(parts)
    flat = records.select("raw_data.*", "year", "month", "day")
    flat = flat.select("id", "price", F.col("Buyer.name").alias("Buyer_name"), "year", "month", "day")
    write(f"{source}_raw", records, strings, day)
    write(source, flat.repartition(2), strings, day)


def write(name, frame, strings, day):
    place = f"{tables}/old/{name}.dir"
    frame.write.mode("overwrite").partitionBy("year", "month", "day").parquet(place)
    columns = ", ".join(f"`{f.name}` {f.dataType.simpleString()} comment 'of {f.name}'" for f in frame.schema)
    spark.sql("create database if not exists air")
    spark.sql(
        f"create table if not exists air.{name} ({columns}) using parquet partitioned by (year, month, day) location '{place}' "
        "comment 'made by the old job' tblproperties ('team' = 'data')"
    )
    value = (lambda n, w: f"'{n:0{w}d}'") if strings else (lambda n, w: str(n))
    spark.sql(f"alter table air.{name} add if not exists partition (year={value(2026, 4)}, month={value(7, 2)}, day={value(day, 2)})")


def read(name, columns):
    spark.sql(f"refresh table air.{name}")
    rows = spark.sql(f"select cast(day as int), {columns} from air.{name}").collect()
    described = [list(r) for r in spark.sql(f"describe extended air.{name}").collect()]
    wanted = ["Owner", "Type", "Provider", "Comment", "Location", "Partition Provider"]
    after = [r[0] for r in described].index("# Detailed Table Information")
    return {
        "rows": sorted([list(r) for r in rows], key=json.dumps),
        "partitions": sorted(r[0] for r in spark.sql(f"show partitions air.{name}").collect()),
        "columns": described[:after],
        "details": [r for r in described[after:] if r[0] in wanted],
        "properties": {r[0]: r[1] for r in spark.sql(f"show tblproperties air.{name}").collect() if r[0] != "transient_lastDdlTime"},
    }


for line in sys.stdin:
    command, *args = json.loads(line)
    answer = {"job": job, "read": read, "sql": lambda text: [list(r) for r in spark.sql(text).collect()]}[command](*args)
    print("\x1e" + json.dumps(answer), flush=True)
