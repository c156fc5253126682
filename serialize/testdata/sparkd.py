"""Does what serialize/spark's program does, for many requests with one Spark: those that come to the socket whose path is the argument. Each
connection begins with the path of a request, and goes on as the program and Headwater speak."""

import importlib.util
import json
import os
import socket
import sys
import threading

from pyspark.sql import SparkSession

spec = importlib.util.spec_from_file_location("job", os.path.join(os.path.dirname(__file__), "../spark/job.py"))
job = importlib.util.module_from_spec(spec)
sys.dont_write_bytecode = True
spec.loader.exec_module(job)

local = {"spark.sql.shuffle.partitions": "1", "spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1", "spark.log.level": "ERROR"}
builder = SparkSession.builder.master("local[2]")
spark = None


class Headwater:
    def __init__(self, file):
        self.file = file

    def say(self, **message):
        self.file.write("headwater " + json.dumps(message) + "\n")
        self.file.flush()

    def ask(self, **message):
        self.say(**message)
        line = self.file.readline()
        if not line:
            raise job.Fault("Headwater is gone")
        return json.loads(line)


def serve(connection):
    with connection, connection.makefile("rw", encoding="utf-8") as file:
        with open(file.readline().strip(), encoding="utf-8") as f:
            request = json.load(f)
        headwater = Headwater(file)
        try:
            job.work(spark, request, headwater)
        except Exception as e:
            text, data = job.reason(e)
            headwater.say(error={"text": text, "data": data})


door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1])
settings = json.loads(sys.argv[2])
for key, value in {**local, **settings}.items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()
door.listen()
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
