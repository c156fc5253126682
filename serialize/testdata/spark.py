"""Reads days as jobs on Spark do. Each line of stdin is a JSON list of folders, each line of stdout the list of what was read: of the raw
objects in FOLDER/in, and of the tables in FOLDER/raw.parquet and FOLDER/flat.parquet."""

import json
import os
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DecimalType, DoubleType, StructType

spark = (
    SparkSession.builder.master("local[2]")
    .appName("dialect")
    .config("spark.sql.shuffle.partitions", "1")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.log.level", "ERROR")
    .getOrCreate()
)


def plain(value, of):
    """A value as JSON that tells everything apart: doubles by their bits, structs as lists of their fields."""
    if value is None:
        return None
    if isinstance(of, StructType):
        return [plain(v, f.dataType) for v, f in zip(value, of.fields)]
    if isinstance(of, ArrayType):
        return [plain(v, of.elementType) for v in value]
    if isinstance(of, DoubleType):
        return struct.pack(">d", value).hex()
    if isinstance(of, DecimalType):
        return format(value, "f") + "m"
    return value


def rows(frame):
    return {"schema": json.loads(frame.schema.json()), "rows": [plain(r, frame.schema) for r in frame.collect()]}


def leaves(column, of, name):
    for f in of.fields:
        inner = column.getField(f.name)
        path = name + [f.name]
        if isinstance(f.dataType, StructType):
            yield from leaves(inner, f.dataType, path)
        else:
            yield inner.alias("_".join(path))


def day(folder):
    try:
        frame = spark.read.json(os.path.join(folder, "in"))
        answer = {"corrupt": 0}
        if "_corrupt_record" in frame.columns:
            frame = frame.cache()
            whole = frame.where("ingestion_timestamp is not null").drop("_corrupt_record")
            answer["corrupt"] = frame.count() - whole.count()
            frame = whole
        answer["raw"] = rows(frame)
        of = dict(zip(frame.columns, [f.dataType for f in frame.schema.fields])).get("raw_data")
        if isinstance(of, StructType):
            answer["flat"] = rows(frame.select(*leaves(F.col("raw_data"), of, [])))
        for table in ("raw", "flat"):
            answer["our_" + table] = rows(spark.read.parquet(os.path.join(folder, table + ".parquet")))
        return answer
    except Exception as e:  # the day as a whole
        return {"error": str(e)[:2000]}


with ThreadPoolExecutor(3) as pool:
    for line in sys.stdin:
        print(json.dumps(list(pool.map(day, json.loads(line))), default=str), flush=True)
