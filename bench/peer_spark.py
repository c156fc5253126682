"""What serialize does, by Spark; see peer.py. To be run by spark-submit: its JVM is then a child whose time is counted."""

from peer import arguments, joined
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType


def leaves(path, name, kind):
    if not isinstance(kind, StructType):
        yield F.col(path).alias(name)
        return
    for f in kind.fields:
        yield from leaves(f"{path}.`{f.name}`", joined(name, f.name), f.dataType)


def main():
    objects, out = arguments()
    spark = (
        SparkSession.builder.config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )
    frame = spark.read.json(objects)
    moment = F.timestamp_millis("ingestion_timestamp")
    days = [F.year(moment).alias("year"), F.month(moment).alias("month"), F.dayofmonth(moment).alias("day")]
    flat = leaves("raw_data", "", frame.schema["raw_data"].dataType)
    for name, of in {"raw": frame.select("*", *days), "flat": frame.select(*flat, *days)}.items():
        of.write.option("compression", "snappy").partitionBy("year", "month", "day").parquet(f"{out}/{name}")
    print(spark.read.parquet(f"{out}/flat").count())


main()
