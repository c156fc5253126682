"""Reads a table by its path with pyarrow and prints what it finds as JSON."""
import json
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

path, id_path = sys.argv[1], sys.argv[2]
data = ds.dataset(path, format="parquet", partitioning="hive")
partitions = [n for n in ("year", "month", "day") if pa.types.is_integer(data.schema.field(n).type)]
table = data.to_table()


def column(name):
    parts = name.split(".")
    values = table[parts[0]].combine_chunks()
    for part in parts[1:]:
        values = pc.struct_field(values, part)
    return values


def sibling(name):
    return id_path[: -len("id")] + name


seventh = pc.equal(column(id_path), 7)
json.dump(
    {
        "Rows": data.count_rows(),
        "Ids": pc.sum(column(id_path)).as_py(),
        "Big": int(pc.max(column(sibling("big"))).as_py()),
        "Partitions": partitions,
        "Name": pc.filter(column(sibling("name")), seventh)[0].as_py(),
    },
    sys.stdout,
)
