"""Asks Spark for a day of two tables by a metastore: spark_day.py THRIFT-URI WAREHOUSE. Prints, as JSON, types, counts and files."""

import json
import sys

from pyspark.sql import SparkSession

uri, warehouse = sys.argv[1:3]
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
day = "where year = 2026 and month = 7 and day = 5"
print(
    json.dumps(
        {
            "types": {f.name: f.dataType.simpleString() for f in spark.table("air.trades").schema},
            "flat": list(spark.sql(f"select count(*), count(Qty), sum(id) from air.trades {day}").first()),
            "raw": list(spark.sql(f"select count(*), count(raw_data.Qty), sum(raw_data.id) from air.trades_raw {day}").first()),
        }
    )
)
