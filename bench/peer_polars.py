"""What serialize does, by Polars; see peer.py. Of several objects it takes the schema of the first and drops, without an error, the fields that only others have: so
the schemas of all are united here."""

from concurrent.futures import ThreadPoolExecutor
from functools import reduce

import polars as pl
from peer import arguments, joined


def united(a, b):
    if a == b or b == pl.Null:
        return a
    if a == pl.Null:
        return b
    if isinstance(a, pl.Struct) and isinstance(b, pl.Struct):
        fields = {f.name: f.dtype for f in a.fields}
        for f in b.fields:
            fields[f.name] = united(fields.get(f.name, pl.Null), f.dtype)
        return pl.Struct(fields)
    if isinstance(a, pl.List) and isinstance(b, pl.List):
        return pl.List(united(a.inner, b.inner))
    if {a, b} == {pl.Int64, pl.Float64}:
        return pl.Float64
    return pl.String


def schema_of(path):
    return pl.Struct(dict(pl.scan_ndjson(path, infer_schema_length=None).collect_schema()))


def leaves(expression, name, kind):
    if not isinstance(kind, pl.Struct):
        yield expression.alias(name)
        return
    for f in kind.fields:
        yield from leaves(expression.struct.field(f.name), joined(name, f.name), f.dtype)


def main():
    objects, out = arguments()
    with ThreadPoolExecutor() as pool:
        schema = reduce(united, pool.map(schema_of, objects))
    schema = pl.Schema({f.name: f.dtype for f in schema.fields})
    frame = pl.scan_ndjson(objects, schema=schema).collect()
    moment = pl.from_epoch(pl.col("ingestion_timestamp"), time_unit="ms").dt
    days = [moment.year().alias("year"), moment.month().alias("month"), moment.day().alias("day")]
    flat = leaves(pl.col("raw_data"), "", schema["raw_data"])
    for name, of in {"raw": frame.lazy().with_columns(days), "flat": frame.lazy().select([*flat, *days])}.items():
        target = pl.PartitionBy(f"{out}/{name}", key=["year", "month", "day"], include_key=False)
        of.sink_parquet(target, compression="snappy", mkdir=True, lazy=True).collect(engine="streaming")
    print(frame.height)


main()
