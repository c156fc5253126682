"""Asks Spark for the rows of a day while it grows: spark_open.py THRIFT-URI WAREHOUSE ROWS STARTED.

Prints, as JSON, what each answer was until it had so many rows, and makes the file STARTED after the first."""

import json
import sys
import time

from pyspark.sql import SparkSession

uri, warehouse, rows, started = sys.argv[1:5]
spark = (
    SparkSession.builder.master("local[2]")
    .appName("interop")
    .enableHiveSupport()
    .config("spark.hadoop.hive.metastore.uris", uri)
    .config("spark.sql.warehouse.dir", warehouse)
    .config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.log.level", "ERROR")
    .getOrCreate()
)

seen = []
while not seen or seen[-1][0] < int(rows):
    spark.sql("refresh table air.trades")
    answer = list(spark.sql("select count(*), count(distinct id) from air.trades").first())
    if not seen or seen[-1] != answer:
        seen.append(answer)
    open(started, "w").close()
    time.sleep(0.1)
print(json.dumps(seen))
