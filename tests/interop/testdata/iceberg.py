"""Does with an Iceberg catalog in the Hive Metastore at argv[1] what one does, files below argv[2], and prints what it found as JSON."""
import json
import sys
import threading

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.types import DoubleType
from pyiceberg.exceptions import CommitFailedException, NamespaceNotEmptyError, NoSuchTableError, TableAlreadyExistsError

uri, warehouse = sys.argv[1], sys.argv[2]


def catalog():
    return load_catalog("hive", type="hive", uri=uri, warehouse=warehouse, **{"lock-check-min-wait-time": 0.01, "lock-check-max-wait-time": 0.1})


c, found = catalog(), {}
c.create_namespace("lab", {"owner": "ann"})
c.update_namespace_properties("lab", removals=set(), updates={"room": "7"})
found["properties"] = {k: v for k, v in c.load_namespace_properties("lab").items() if k in ("owner", "room")}
rows = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["a", "b", None]})
c.create_table("lab.samples", rows.schema)
try:
    c.create_table("lab.samples", rows.schema)
except TableAlreadyExistsError:
    found["again"] = "exists"

# Each writer commits under a lock of the metastore's; whoever has seen an older table is refused and tries again.
conflicts = []


def write():
    mine = catalog()
    for _ in range(3):
        while True:
            try:
                mine.load_table("lab.samples").append(rows)
                break
            except CommitFailedException as e:
                conflicts.append(str(e))


writers = [threading.Thread(target=write) for _ in range(4)]
for w in writers:
    w.start()
for w in writers:
    w.join()
table = c.load_table("lab.samples")
with table.update_schema() as update:
    update.add_column("more", DoubleType())
found["rows"], found["snapshots"] = c.load_table("lab.samples").scan().to_arrow().num_rows, len(table.snapshots())
found["columns"] = c.load_table("lab.samples").schema().column_names
c.rename_table("lab.samples", "lab.renamed")
found["tables"] = c.list_tables("lab")
found["exists"] = [c.table_exists("lab.samples"), c.table_exists("lab.renamed")]
try:
    c.drop_namespace("lab")
except NamespaceNotEmptyError:
    found["not empty"] = True
c.drop_table("lab.renamed")
try:
    c.load_table("lab.renamed")
except NoSuchTableError:
    found["dropped"] = True
c.drop_namespace("lab")
found["namespaces"] = c.list_namespaces()
print("conflicts:", len(conflicts), file=sys.stderr)
json.dump(found, sys.stdout)
