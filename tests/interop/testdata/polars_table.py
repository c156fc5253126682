"""Reads a table by its path with Polars and prints what it finds as JSON."""
import json
import sys

import polars as pl

path, id_path = sys.argv[1], sys.argv[2]
frame = pl.scan_parquet(path + "/**/*.parquet", hive_partitioning=True).collect()
partitions = [n for n in ("year", "month", "day") if frame.schema[n].is_integer()]
if id_path != "id":
    frame = frame.select(pl.col(id_path.split(".")[0]).struct.unnest())
json.dump(
    {
        "Rows": frame.height,
        "Ids": frame["id"].sum(),
        "Big": int(frame["big"].max()),
        "Partitions": partitions,
        "Name": frame.filter(pl.col("id") == 7)["name"][0],
    },
    sys.stdout,
)
