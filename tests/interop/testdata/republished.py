"""Asks for the rows of one day again and again while it is published anew: republished.py READER WHERE STARTED DONE.

READER is spark, which asks the metastore at WHERE, or duckdb or pyarrow, which read the files below the folder WHERE. It makes the file STARTED after
its first answer and ends some answers after the file DONE is there. Prints as JSON how often it asked, its different answers in order, and why it got none."""

import json
import os
import sys

reader, where, started, done = sys.argv[1:5]


def spark():
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .appName("republished")
        .enableHiveSupport()
        .config("spark.hadoop.hive.metastore.uris", where)
        .config("spark.sql.warehouse.dir", os.path.dirname(started) + "/warehouse")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.log.level", "OFF")
        .getOrCreate()
    )

    def ask():
        session.sql("refresh table air.cases")
        return list(session.sql("select count(*), min(v), max(v) from air.cases where day = 5").first())

    return ask


def duckdb():
    import duckdb

    def ask():
        return list(duckdb.sql(f"select count(*), min(v), max(v) from read_parquet('{where}/*.parquet')").fetchall()[0])

    return ask


def pyarrow():
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    def ask():
        table = ds.dataset(where, format="parquet").to_table(columns=["v"])
        return [table.num_rows, pc.min(table["v"]).as_py(), pc.max(table["v"]).as_py()]

    return ask


ask = {"spark": spark, "duckdb": duckdb, "pyarrow": pyarrow}[reader]()
asked, answers, faults, left = 0, [], [], 3
while left:
    if os.path.exists(done):
        left -= 1
    asked += 1
    try:
        answer = ask()
        if not answers or answers[-1] != answer:
            answers.append(answer)
    except Exception as e:
        text = str(e)[:400]
        if not faults or faults[-1] != text:
            faults.append(text)
    open(started, "w").close()
json.dump({"Asked": asked, "Answers": answers, "Faults": faults}, sys.stdout)
