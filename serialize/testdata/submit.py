"""Stands for spark-submit before sparkd.py: the last argument is the request's path, the socket's is in the environment."""

import os
import socket
import sys
import threading

connection = socket.socket(socket.AF_UNIX)
connection.connect(os.environ["HEADWATER_TEST_SPARK"])
connection.sendall((sys.argv[-1] + "\n").encode())


def answers():
    for line in sys.stdin.buffer:
        connection.sendall(line)
    connection.shutdown(socket.SHUT_WR)


threading.Thread(target=answers, daemon=True).start()
while data := connection.recv(65536):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
os._exit(0)
