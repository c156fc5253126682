"""Compares the raw table with the bodies that were sent, value by value, and prints what differs as JSON.

A body's value is in the table as the same value, or, where the column had to become text because bodies disagree, as its JSON text.
A null or absent value is null. What is null or an empty array or object wherever it occurs has no column. A column is found by its
key's name, in which .,:;<> are _."""
import json
import re
import sys

import pyarrow.dataset as ds

path, sent_path = sys.argv[1], sys.argv[2]
sent = json.load(open(sent_path))
rows = ds.dataset(path, format="parquet", partitioning="hive").to_table(columns=["raw_data", "metadata"]).to_pylist()
differences, leaves = [], 0


NO_COLUMN = object()


def empty(value, with_arrays):
    """Says that a value is null or made of nothing."""
    if isinstance(value, dict):
        return all(empty(v, with_arrays) for v in value.values())
    if isinstance(value, list) and with_arrays:
        return all(empty(v, with_arrays) for v in value)
    return value is None


def column(key):
    return re.sub("[.,:;<>]", "_", key).lower()


def same(where, want, got):
    global leaves
    if got is None or got is NO_COLUMN:
        if not empty(want, got is NO_COLUMN):
            differences.append(f"{where}: want {want!r}, got nothing")
    elif isinstance(want, dict) and isinstance(got, dict):
        names = {name.lower(): name for name in got}
        sent_names = {column(key) for key in want}
        for key, value in want.items():
            same(f"{where}.{key}", value, got.get(names.get(column(key)), NO_COLUMN))
        for key, value in got.items():
            if key.lower() not in sent_names and not empty(value, False):
                differences.append(f"{where}.{key}: {value!r} was never sent")
    elif isinstance(want, list) and isinstance(got, list):
        if len(want) != len(got):
            differences.append(f"{where}: {len(got)} elements, want {len(want)}")
        for i, (w, g) in enumerate(zip(want, got)):
            same(f"{where}[{i}]", w, g)
    else:
        leaves += 1
        if type(want) is type(got) and want == got:
            return
        if isinstance(want, int) and isinstance(got, float) and want == got:
            return
        if isinstance(got, str) and not isinstance(want, str) and json.loads(got) == want:
            return
        differences.append(f"{where}: want {want!r}, got {got!r}")


seen = {}
for row in rows:
    key = row["metadata"]["position"].rsplit("/", 1)[0]
    seen[key] = seen.get(key, 0) + 1
    same(key, sent[key], row["raw_data"])
json.dump({"Rows": len(rows), "Keys": len(seen), "Leaves": leaves, "Differences": differences[:20], "Count": len(differences)}, sys.stdout)
