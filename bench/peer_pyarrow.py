"""What serialize does, by pyarrow; see peer.py. It finds the schema of each object, and they are united here."""

import os

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.json as pj
from peer import arguments, joined


def read(path):
    options = {
        "read_options": pj.ReadOptions(block_size=8 << 20),
        "parse_options": pj.ParseOptions(newlines_in_values=False),
    }
    with pa.input_stream(path, compression="gzip") as stream:
        return pj.read_json(stream, **options)


def leaves(column, name):
    if not pa.types.is_struct(column.type):
        yield name, column
        return
    children = zip(*(chunk.flatten() for chunk in column.chunks))
    for field, chunks in zip(column.type, children):
        yield from leaves(pa.chunked_array(list(chunks), type=field.type), joined(name, field.name))


def main():
    objects, out = arguments()
    pa.set_cpu_count(os.cpu_count())
    table = pa.concat_tables([read(path) for path in objects], promote_options="permissive")
    moment = pc.cast(table["ingestion_timestamp"], pa.timestamp("ms"))
    days = {"year": pc.year(moment), "month": pc.month(moment), "day": pc.day(moment)}
    partitioning = ds.partitioning(pa.schema([(name, pa.int64()) for name in days]), flavor="hive")
    options = ds.ParquetFileFormat().make_write_options(compression="snappy")
    flat = pa.table(dict(leaves(table["raw_data"], "")))
    for name, of in {"raw": table, "flat": flat}.items():
        for key, values in days.items():
            of = of.append_column(key, values)
        ds.write_dataset(of, f"{out}/{name}", format="parquet", partitioning=partitioning, file_options=options)
    print(table.num_rows)


main()
