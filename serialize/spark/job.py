"""Makes both tables of a day. It is started by spark-submit with the path of a request, and speaks with Headwater: lines of its output that
begin with `headwater `, and lines of its input, are JSON objects. Headwater decides, this program counts, reads and writes."""

import json
import os
import queue
import re
import sys
import threading
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.errors.exceptions.captured import CapturedException
from pyspark.sql import SparkSession, functions as F
from pyspark.sql.types import StructType

# A record that is no JSON, or cannot be read for another reason, would be here.
CORRUPT = "_headwater_corrupt"

class Headwater:
    """The other side, which has started this program."""

    def __init__(self):
        self.answers, self.speaking, self.done = queue.Queue(), threading.Lock(), threading.Event()

    def say(self, **message):
        with self.speaking:
            print("\nheadwater " + json.dumps(message), flush=True)

    def ask(self, **message):
        self.say(**message)
        return self.answers.get()

    def listen(self, jvm):
        """Takes the answers from the input, which is that of the JVM."""
        lines = jvm.java.io.BufferedReader(jvm.java.io.InputStreamReader(getattr(jvm.System, "in"), "UTF-8"))
        while (line := lines.readLine()) is not None:
            self.answers.put(json.loads(line))
        if not self.done.is_set():
            os._exit(1)  # Headwater is gone, and nobody would ever read what is being made

    def report(self, tracker, every):
        while not self.done.wait(every):
            stages = [s for s in map(tracker.getStageInfo, tracker.getActiveStageIds()) if s]
            if stages:
                self.say(progress=", ".join(f"stage {s.stageId}: {s.numCompletedTasks} of {s.numTasks} tasks" for s in stages))


def lines_of(spark, paths):
    """The records of objects as they are, blank lines left out."""
    lines = spark.read.text(paths, lineSep="\n")
    lines = lines.select("value", F.col("_metadata.file_path").alias("uri"), F.col("_metadata.file_size").alias("size"))
    return lines.where(F.length(F.ltrim("value", F.lit(" \t\r"))) > 0)


def judged(lines, request):
    """Lines with what raw_data is in them: object, null, bare, or bad if they cannot be rows."""
    # Half a surrogate pair is no fault, but no variant can hold it; what it becomes here is looked at by nobody.
    text = F.when(F.col("value").contains("\\ud") | F.col("value").contains("\\uD"), F.regexp_replace("value", r"(\\u)[dD](?=[89a-fA-F])", "$1e")).otherwise(F.col("value"))
    # Of a key that comes twice in an object there is no variant.
    lines = lines.withColumn("v", F.from_json(text, "variant"))
    lines = lines.withColumn("data", F.expr("variant_get(v, '$.raw_data', 'variant')"))
    at, malformed = "variant_get(v, '$.ingestion_timestamp', 'variant')", "variant_get(v, '$.metadata.malformed', 'variant')"
    return lines.withColumn(
        "what",
        F.expr(f"""case
            when octet_length(value) >= {request["record_bytes"]} then 'long'
            when v is null or not is_valid_utf8(value) then 'bad'
            when coalesce(schema_of_variant({at}) <> 'BIGINT', true) then 'bad'
            when variant_get({at}, '$', 'bigint') < {request["from"]} or variant_get({at}, '$', 'bigint') >= {request["to"]} then 'bad'
            when schema_of_variant({malformed}) = 'STRING' and variant_get({malformed}, '$', 'string') <> '' then 'bad'
            when data is null then 'bad'
            when is_variant_null(data) then 'null'
            when try_variant_get(data, '$', 'struct<x:variant>') is not null then 'object'
            when schema_of_variant(data) = 'STRING' and variant_get(data, '$', 'string') = '' then 'null'
            else 'bare' end"""),
    )


def clean(spark, request, headwater, answer):
    """Copies the records that can be rows of the objects that have others too, and tells of the others. Returns the paths to read."""
    paths = answer["clean"]
    if not paths:
        return request["inputs"]
    lines = judged(lines_of(spark, paths), request)
    bad = F.col("what").isin(["bad", "long"] + (["bare"] if answer["bare"] else []))
    for row in lines.where(bad).select("uri", "what", F.sha2("value", 256).alias("sha256")).toLocalIterator():
        headwater.say(bad={"uri": unquote(row.uri), "sha256": "" if row.what == "long" else row.sha256})
    lines.where(~bad).select("value").write.text(request["scratch"], compression="gzip")
    gone = set(paths)
    return [p for p in request["inputs"] if p not in gone] + [request["scratch"]]


def renamed(column, of, to):
    return (column if of == to.dataType else column.cast(to.dataType)).alias(to.name)


def quoted(name):
    return F.col("`" + name.replace("`", "``") + "`")


def follow(column):
    value = quoted(column["path"][0])
    for name in column["path"][1:]:
        value = value.getField(name)
    return (F.timestamp_millis(value) if column["millis"] else value).alias(column["name"])


def made(table):
    return {"rows": table.count(), "schema": json.loads(table.schema.json()), "files": [unquote(f) for f in table.inputFiles()]}


def delete(spark, folder):
    path = spark._jvm.org.apache.hadoop.fs.Path(folder)
    path.getFileSystem(spark._jsc.hadoopConfiguration()).delete(path, True)


def make(spark, request, headwater, paths):
    reader = spark.read.option("lineSep", "\n").option("columnNameOfCorruptRecord", CORRUPT)
    plan = headwater.ask(schema=json.loads(reader.json(paths).schema.json()))
    read, raw = StructType.fromJson(plan["read"]), StructType.fromJson(plan["raw"])
    records = reader.schema(read).json(paths)
    records.select([renamed(quoted(f.name), f.dataType, to) for f, to in zip(read.fields, raw.fields)]).write.parquet(request["raw"])
    table = spark.read.schema(raw).parquet(request["raw"])
    # Every record has the time; what has none is one that was fit to be a row and of which Spark has made nothing.
    lost = table.where(quoted(plan["time"]).isNull()).count()
    if lost:
        raise Fault(f"it has made nothing of {lost} records that it has found to be whole")
    table.select([follow(c) for c in plan["flat"]]).write.parquet(request["flat"])
    headwater.say(made={"raw": made(spark.read.parquet(request["raw"])), "flat": made(spark.read.parquet(request["flat"]))})


def work(spark, request, headwater):
    counts = judged(lines_of(spark, request["inputs"]), request).groupBy("uri", "size", "what").count().collect()
    answer = headwater.ask(counts=[{"uri": unquote(c.uri), "size": c.size, "what": c.what, "records": c["count"]} for c in counts])
    try:
        make(spark, request, headwater, clean(spark, request, headwater, answer))
    finally:
        if answer["clean"]:
            delete(spark, request["scratch"])


class Fault(Exception):
    """What lies in the data."""


# Objects that are damaged or cut short, as Hadoop and Java say it.
DAMAGED = re.compile(r"gzip|unexpected end of input stream|header check|data check|invalid (stored )?block|invalid (distance|literal|bit|code|window)|crc|not in GZIP format", re.I)


def reason(e):
    """What was wrong in the first place, where, and whether it lies in the data."""
    if isinstance(e, Fault):
        return str(e), True
    thrown = getattr(e, "java_exception", None) or getattr(e, "_origin", None)
    chain = []
    while thrown is not None:
        chain.append((thrown.getClass().getName(), (thrown.getMessage() or thrown.toString()).strip().split("\n")[0]))
        thrown = thrown.getCause()
    if not chain:
        return str(e).strip(), False
    name, root = chain[-1]
    named = [text for _, text in chain[:-1] if text.startswith("[")]
    text = f"{named[-1]}: {root}" if named and root not in named[-1] else root
    data = isinstance(e, CapturedException) and name.endswith("AnalysisException") and "PATH_NOT_FOUND" not in root
    return text, bool(data or DAMAGED.search(root))


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        request = json.load(f)
    headwater = Headwater()
    try:
        builder = SparkSession.builder
        for key, value in request["settings"].items():
            builder = builder.config(key, value)
        spark = builder.getOrCreate()
        threading.Thread(target=headwater.listen, args=(spark.sparkContext._jvm,), daemon=True).start()
        threading.Thread(target=headwater.report, args=(spark.sparkContext.statusTracker(), request["report_seconds"]), daemon=True).start()
        work(spark, request, headwater)
        headwater.done.set()
        spark.stop()
        return 0
    except (CapturedException, Py4JJavaError, Fault) as e:
        text, data = reason(e)
        headwater.say(error={"text": text, "data": data})
        headwater.done.set()
        return 1


if __name__ == "__main__":
    sys.exit(main())
