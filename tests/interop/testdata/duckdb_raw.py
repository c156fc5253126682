"""Reads raw objects with DuckDB and prints their number of rows and the sum of their ids as JSON."""
import json
import sys

import duckdb

rows, ids = duckdb.sql(f"SELECT count(*), sum(raw_data.id)::BIGINT FROM read_json_auto('{sys.argv[1]}')").fetchall()[0]
json.dump({"Rows": rows, "Ids": ids}, sys.stdout)
