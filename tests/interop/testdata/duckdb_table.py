"""Reads a table by its path with DuckDB and prints what it finds as JSON."""
import json
import sys

import duckdb

path, id_path = sys.argv[1], sys.argv[2]
prefix = id_path[: -len("id")]
db = duckdb.connect()
source = f"read_parquet('{path}/*/*/*/*.parquet', hive_partitioning = true)"
types = {name: kind for name, kind, *_ in db.sql(f"DESCRIBE SELECT * FROM {source}").fetchall()}
rows, ids, big = db.sql(f"SELECT count(*), sum({id_path})::BIGINT, max({prefix}big) FROM {source}").fetchall()[0]
(name,) = db.sql(f"SELECT {prefix}name FROM {source} WHERE {id_path} = 7").fetchall()[0]
partitions = [n for n in ("year", "month", "day") if types[n] in ("INTEGER", "BIGINT")]
json.dump({"Rows": rows, "Ids": ids, "Big": int(big), "Partitions": partitions, "Name": name}, sys.stdout)
