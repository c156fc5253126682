"""What serialize does, by ClickHouse, as chdb has it; see peer.py. It fails to find one schema of objects whose structs differ (TYPE_MISMATCH): so it looks at all of
them in one file, whose making counts. Its types of structs are text, which has to be taken apart for the flat table, and it makes no folders."""

import os
import shutil

from chdb import session
from peer import arguments, joined, text

SETTINGS = """SETTINGS input_format_max_rows_to_read_for_schema_inference = 1000000000, input_format_max_bytes_to_read_for_schema_inference = 1000000000000,
    input_format_json_try_infer_named_tuples_from_objects = 1, input_format_json_try_infer_numbers_from_strings = 0,
    input_format_json_infer_incomplete_types_as_strings = 1, input_format_try_infer_dates = 0, input_format_try_infer_datetimes = 0,
    input_format_json_use_string_type_for_ambiguous_paths_in_named_tuples_inference_from_objects = 1, schema_inference_make_columns_nullable = 1,
    use_hive_partitioning = 0, output_format_parquet_compression_method = 'snappy', output_format_parquet_string_as_string = 1,
    input_format_null_as_default = 1, allow_experimental_nullable_tuple_type = 1"""


def quoted(name):
    return "`" + name.replace("`", "\\`") + "`"


def fields(types):
    """The names and types of a Tuple's inside."""
    depth, inside, start, parts = 0, False, 0, []
    for i, c in enumerate(types):
        if c == "`":
            inside = not inside
        elif not inside:
            depth += (c == "(") - (c == ")")
            if c == "," and depth == 0:
                parts.append(types[start:i])
                start = i + 1
    for part in [*parts, types[start:]]:
        part = part.strip()
        if part[0] == "`":
            name, _, kind = part[1:].partition("`")
        else:
            name, _, kind = part.partition(" ")
        yield name, kind.strip()


def leaves(path, name, kind):
    if kind.startswith("Nullable(Tuple("):
        kind = kind[len("Nullable(") : -1]
    if not kind.startswith("Tuple("):
        yield f"{path} AS {quoted(name)}"
        return
    for child, its_kind in fields(kind[len("Tuple(") : -1]):
        yield from leaves(f"tupleElement({path}, {text(child)})", joined(name, child), its_kind)


def main():
    objects, out = arguments()
    db = session.Session()

    def rows(sql):
        return [line.split("\t") for line in db.query(f"{sql} {SETTINGS} FORMAT TSVRaw", "TSVRaw").data().splitlines()]

    one = out + "/all.json.gz"
    with open(one, "wb") as to:
        for path in objects:
            with open(path, "rb") as of:
                shutil.copyfileobj(of, to)
    columns = {row[0]: row[1] for row in rows(f"DESCRIBE file('{one}', 'JSONEachRow')")}
    made = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
    db.query(f"CREATE TABLE default.t ({made}) ENGINE = Memory")
    db.query(f"INSERT INTO default.t SELECT * FROM file('{one}', 'JSONEachRow', {text(made)}) {SETTINGS}")
    os.remove(one)
    day = "formatDateTime(toTimeZone(fromUnixTimestamp64Milli(assumeNotNull(ingestion_timestamp)), 'UTC'), '%Y/%c/%e')"
    selects = {"raw": "*", "flat": ", ".join(leaves("raw_data", "", columns["raw_data"]))}
    for (of,) in rows(f"SELECT DISTINCT {day} FROM default.t"):
        year, month, number = (int(part) for part in of.split("/"))
        for name, select in selects.items():
            folder = f"{out}/{name}/year={year}/month={month}/day={number}"
            os.makedirs(folder)
            db.query(f"INSERT INTO FUNCTION file('{folder}/part.parquet', 'Parquet') SELECT {select} FROM default.t WHERE {day} = '{of}' {SETTINGS}")
    print(rows("SELECT count() FROM default.t")[0][0])


main()
