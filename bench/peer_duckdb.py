"""What serialize does, by DuckDB; see peer.py. The objects are parsed twice, for the schema of every record and into a table in memory: reading them a third
time instead took longer."""

import os

import duckdb
from peer import arguments, joined, quoted


def text(value):
    return "'" + str(value).replace("'", "''") + "'"


def leaves(path, name, kind):
    if kind.id != "struct":
        yield path + " AS " + quoted(name)
        return
    for child, its_kind in kind.children:
        yield from leaves(path + "." + quoted(child), joined(name, child), its_kind)


def main():
    objects, out = arguments()
    db = duckdb.connect()
    db.execute(f"SET threads={os.cpu_count()}; SET preserve_insertion_order=false; SET TimeZone='UTC'")
    files = "[" + ",".join(text(f) for f in objects) + "]"
    how = f"{files}, format='newline_delimited', compression='gzip', hive_partitioning=false, maximum_object_size=67108864"
    # By default it looks at a sample, makes maps of what it takes for keys, and leaves out rare fields.
    every = "sample_size=-1, maximum_sample_files=1000000, map_inference_threshold=-1, field_appearance_threshold=0, union_by_name=true"
    schema = db.sql(f"SELECT * FROM read_json({how}, {every}) LIMIT 0")
    kinds = dict(zip(schema.columns, schema.types))
    columns = "{" + ",".join(text(name) + ":" + text(kind) for name, kind in kinds.items()) + "}"
    db.execute(f"CREATE TEMP TABLE t AS SELECT * FROM read_json({how}, columns={columns})")
    day = "make_timestamp(ingestion_timestamp * 1000)"
    day = f"year({day}) AS year, month({day}) AS month, day({day}) AS day"
    counts = []
    for name, select in {"raw": "*", "flat": ", ".join(leaves("raw_data", "", kinds["raw_data"]))}.items():
        copy = f"COPY (SELECT {select}, {day} FROM t) TO {text(out + '/' + name)} (FORMAT parquet, COMPRESSION snappy, PARTITION_BY (year, month, day))"
        counts.append(db.execute(copy).fetchone()[0])
    assert counts[0] == counts[1], counts
    print(counts[0])


main()
