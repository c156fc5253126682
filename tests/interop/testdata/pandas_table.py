"""Reads a table by its path with pandas and prints what it finds as JSON."""
import json
import sys

import pandas as pd

path, id_path = sys.argv[1], sys.argv[2]
frame = pd.read_parquet(path)
# pandas makes categories of folders' values.
partitions = [n for n in ("year", "month", "day") if pd.api.types.is_integer_dtype(frame[n].cat.categories)]
if id_path != "id":
    frame = pd.DataFrame(list(frame[id_path.split(".")[0]]))
json.dump(
    {
        "Rows": len(frame),
        "Ids": int(frame["id"].sum()),
        "Big": int(frame["big"].max()),
        "Partitions": partitions,
        "Name": frame["name"][frame["id"] == 7].iloc[0],
    },
    sys.stdout,
)
