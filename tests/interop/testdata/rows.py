"""Reads two tables by their paths and writes every row of each as a line of JSON, without what is null in objects: rows.py READER FLAT RAW OUT writes
OUT/<reader>-flat and OUT/<reader>-raw. With STORE, JSON that says how an S3 server is reached, a path is BUCKET/KEY there, and Spark reads FLAT and RAW as
tables of a metastore."""

import datetime
import decimal
import glob
import json
import os
import sys

STORE = json.loads(sys.argv[5]) if len(sys.argv) > 5 else None
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def plain(value):
    if isinstance(value, dict):
        return {k: plain(mapping(v) if k == "by" else v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, decimal.Decimal):
        assert value == int(value)
        return int(value)
    if isinstance(value, datetime.datetime):
        return (value - EPOCH) // datetime.timedelta(microseconds=1)
    return value


def mapping(value):
    """A map, which pyarrow has as pairs and Polars as structs."""
    if isinstance(value, list):
        return dict((e["key"], e["value"]) if isinstance(e, dict) else e for e in value)
    return value


def files(path):
    """The files of a table, each with its day."""
    if STORE:
        from pyarrow.fs import FileSelector

        found = [f.path for f in filesystem().get_file_info(FileSelector(path, recursive=True)) if f.path.endswith(".parquet")]
    else:
        found = glob.glob(path + "/*/*/*/*.parquet")
    for file in sorted(found):
        yield file, int(os.path.basename(os.path.dirname(file)).removeprefix("day="))


def filesystem():
    """What pyarrow reads files from: None is this machine."""
    if not STORE:
        return None
    from pyarrow.fs import S3FileSystem

    return S3FileSystem(
        endpoint_override=STORE["endpoint"], region="us-east-1", access_key=STORE["access_key"], secret_key=STORE["secret_key"], allow_bucket_creation=False
    )


def pyarrow_rows(path):
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    schemas = [pq.read_schema(file, filesystem=filesystem()) for file, _ in files(path)]
    days = pa.schema([(name, pa.int32()) for name in ("year", "month", "day")])
    schema = pa.unify_schemas([*schemas, days])
    return ds.dataset(path, format="parquet", partitioning="hive", schema=schema, filesystem=filesystem()).to_table().to_pylist()


def duckdb_rows(path):
    import duckdb

    source = f"read_parquet('{path}/*/*/*/*.parquet', hive_partitioning = true, union_by_name = true)"
    columns = duckdb.sql(f"SELECT * FROM {source} LIMIT 0").columns
    micros = "REPLACE (epoch_us(_ingested_at) AS _ingested_at)" if "_ingested_at" in columns else ""
    answer = duckdb.sql(f"SELECT * {micros} FROM {source}")
    return [dict(zip(answer.columns, row)) for row in answer.fetchall()]


def polars_rows(path):
    import polars as pl

    at, options = "", None
    if STORE:
        at = "s3://"
        options = {"aws_endpoint_url": STORE["endpoint"], "aws_region": "us-east-1", "aws_allow_http": "true"}
        options |= {"aws_access_key_id": STORE["access_key"], "aws_secret_access_key": STORE["secret_key"]}
    for file, _ in files(path):
        yield from pl.read_parquet(at + file, hive_partitioning=True, storage_options=options).to_dicts()


def clickhouse_rows(path):
    import chdb

    how = "SETTINGS output_format_json_quote_64bit_integers = 0, output_format_json_quote_decimals = 0, use_hive_partitioning = 0, allow_experimental_nullable_tuple_type = 1"
    for file, day in files(path):
        source = f"file('{file}', Parquet)"
        columns = [line.split("\t")[0] for line in chdb.query(f"DESCRIBE {source} {how}", "TSVRaw").data().splitlines()]
        micros = "REPLACE (toUnixTimestamp64Micro(assumeNotNull(_ingested_at)) AS _ingested_at)" if "_ingested_at" in columns else ""
        for line in chdb.query(f"SELECT * {micros} FROM {source} {how}", "JSONEachRow").data().splitlines():
            yield {**json.loads(line), "year": 2026, "month": 7, "day": day}


def write(out, name, rows):
    with open(os.path.join(out, name), "w") as f:
        for row in rows:
            json.dump(plain(row), f, ensure_ascii=False)
            f.write("\n")


def session(out, settings):
    """A Spark of this machine with the settings."""
    from pyspark.sql import SparkSession

    builder = (
        SparkSession.builder.master("local[2]")
        .enableHiveSupport()
        .config("spark.sql.warehouse.dir", out + "/warehouse")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.log.level", "ERROR")
    )
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def micros(frame):
    """The frame with times as the other readers have them."""
    from pyspark.sql import functions as F

    return frame.withColumn("_ingested_at", F.unix_micros("_ingested_at")) if "_ingested_at" in frame.columns else frame


def spark_rows(frame):
    return (r.asDict(recursive=True) for r in frame.collect())


def spark(tables, out):
    """Spark's reader of columns and its reader of rows, which is that of parquet-java, and Hive's."""
    spark = session(
        out,
        {
            "spark.hadoop.javax.jdo.option.ConnectionURL": "jdbc:derby:memory:rows;create=true",
            "spark.driver.extraJavaOptions": "-Dderby.system.home=" + out,
            "spark.sql.hive.convertMetastoreParquet": "false",
            "spark.sql.parquet.mergeSchema": "true",
            "spark.sql.caseSensitive": "true",
        },
    )
    for name, path in tables.items():
        for reader, vectorized in {"spark": "true", "spark-rows": "false"}.items():
            spark.conf.set("spark.sql.parquet.enableVectorizedReader", vectorized)
            spark.conf.set("spark.sql.parquet.enableNestedColumnVectorizedReader", vectorized)
            frame = micros(spark.read.parquet(path))
            write(out, f"{reader}-{name}", spark_rows(frame))
        # Hive 2 knows no timestamps of 64 bits: above it has become a bigint.
        days = ("year", "month", "day")
        columns = ((f.name(), f.dataType().sql()) for f in frame._jdf.schema().fields())  # with names in quotes
        columns = ", ".join(f"`{name}` {kind}".lower() for name, kind in columns if name not in days)
        spark.sql(f"create external table {name} ({columns}) partitioned by (year int, month int, day int) stored as parquet location 'file://{path}'")
        spark.sql(f"msck repair table {name}")
        write(out, f"hive-{name}", spark_rows(spark.table(name)))
    spark.stop()


def spark_tables(tables, out):
    """Spark's reader, of tables that a metastore says are at s3a://."""
    settings = {"spark.hadoop." + name: value for name, value in STORE["hadoop"].items()}
    settings["spark.jars"] = ",".join(sorted(glob.glob(STORE["jars"] + "/*.jar")))
    settings["spark.hadoop.hive.metastore.uris"] = STORE["metastore"]
    spark = session(out, settings)
    for name, table in tables.items():
        write(out, f"spark-{name}", spark_rows(micros(spark.table(table))))
    spark.stop()


def main(reader, flat, raw, out, *_):
    tables = {"flat": flat, "raw": raw}
    if reader == "spark":
        (spark_tables if STORE else spark)(tables, out)
    else:
        for name, path in tables.items():
            write(out, f"{reader}-{name}", globals()[reader + "_rows"](path))
    print("{}")


main(*sys.argv[1:])
