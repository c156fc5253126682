"""Prints the aggregates of flights.csv by carrier as JSON, with nothing but the standard library."""
import csv
import json
import math
import sys

carriers = {}
with open(sys.argv[1], newline="", encoding="utf-8") as file:
    for row in csv.DictReader(file):
        c = carriers.setdefault(row["carrier"], {"Flights": 0, "Distance": 0, "delays": []})
        c["Flights"] += 1
        c["Distance"] += int(row["distance"])
        if row["dep_delay"] not in ("", "NA"):
            c["delays"].append(int(row["dep_delay"]))
for c in carriers.values():
    delays = c.pop("delays")
    c["Delay"] = math.fsum(delays) / len(delays)
json.dump(carriers, sys.stdout)
