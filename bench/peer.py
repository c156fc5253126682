"""What the engines that serialize is measured beside have in common: peer_*.py RAW OUT reads the objects below RAW, writes the envelopes to OUT/raw and the
flattened items to OUT/flat, both by year, month and day, and prints the number of rows of each."""

import glob
import sys


def arguments():
    """The objects below RAW, in order, and OUT."""
    raw, out = sys.argv[1:]
    return sorted(glob.glob(raw + "/topics/*/*/*.json.gz")), out


def joined(prefix, name):
    return prefix + "_" + name if prefix else name


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def text(value):
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
