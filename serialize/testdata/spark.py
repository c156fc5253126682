"""Reads days as jobs on Spark do. Each line of stdin is a JSON list of folders, each line of stdout the list of what was read: of the raw
objects in FOLDER/in, and of the tables in FOLDER/raw.parquet and FOLDER/flat.parquet, if they are there."""

import json
import os
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

from pyspark.sql import SparkSession
from pyspark.sql.types import ArrayType, DecimalType, DoubleType, StructField, StructType

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


def told(fields, rows):
    of = StructType(fields)
    return {"schema": json.loads(of.json()), "rows": [plain(r, of) for r in rows]}


def read(frame):
    return told(frame.schema.fields, frame.collect())


def leaves(of, name=()):
    """The fields of the flat table and, for each, the way to it."""
    for i, f in enumerate(of.fields):
        if isinstance(f.dataType, StructType):
            for way, leaf in leaves(f.dataType, name + (f.name,)):
                yield (i, *way), leaf
        else:
            yield (i,), StructField("_".join(name + (f.name,)), f.dataType)


def follow(value, way):
    for i in way:
        if value is None:
            return None
        value = value[i]
    return value


def day(folder):
    try:
        frame = spark.read.json(os.path.join(folder, "in"))
        fields, rows = frame.schema.fields, frame.collect()
        corrupt = 0
        names = frame.columns
        if "_corrupt_record" in names:
            # Of lines that are no JSON it is all there is, but rows of which Spark has lost a value have it too.
            at = names.index("ingestion_timestamp")
            whole = [r for r in rows if r[at] is not None]
            corrupt = len(rows) - len(whole)
            gone = names.index("_corrupt_record")
            fields, rows = [f for i, f in enumerate(fields) if i != gone], [r[:gone] + r[gone + 1 :] for r in whole]
        answer = {"corrupt": corrupt, "raw": told(fields, rows)}
        at = [f.name for f in fields].index("raw_data") if "raw_data" in names else -1
        if at >= 0 and isinstance(fields[at].dataType, StructType):
            flat = list(leaves(fields[at].dataType))
            answer["flat"] = told([f for _, f in flat], [[follow(r[at], way) for way, _ in flat] for r in rows])
        for table in ("raw", "flat"):
            path = os.path.join(folder, table + ".parquet")
            if os.path.exists(path):
                answer["our_" + table] = read(spark.read.parquet(path))
        return answer
    except Exception as e:  # the day as a whole
        return {"error": str(e)[:2000]}


with ThreadPoolExecutor(3) as pool:
    for line in sys.stdin:
        print(json.dumps(list(pool.map(day, json.loads(line))), default=str), flush=True)
