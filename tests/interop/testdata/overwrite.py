"""Overwrites a day of a table with Spark: overwrite.py THRIFT-URI WAREHOUSE STATEMENT. Prints as JSON what it reads of the table afterwards, by day."""

import json
import sys

from pyspark.sql import SparkSession

uri, warehouse, statement = sys.argv[1:4]
spark = (
    SparkSession.builder.master("local[2]")
    .appName("overwrite")
    .enableHiveSupport()
    .config("spark.hadoop.hive.metastore.uris", uri)
    .config("spark.sql.warehouse.dir", warehouse)
    .config("spark.sql.sources.partitionOverwriteMode", "dynamic")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.log.level", "ERROR")
    .getOrCreate()
)
if statement:
    spark.sql(statement)
rows = spark.sql("select day, count(*), min(v), max(v) from air.cases group by day order by day").collect()
json.dump([list(r) for r in rows], sys.stdout)
