"""The command lines of Headwater that tasks run, without the program."""

from __future__ import annotations


def day(pipeline: str, source: str, date: str) -> list[str]:
    """Ends with 0 if the day of a source is closed, and with 5 if it is not yet."""
    return ["day", pipeline, "--source", source, "--date", date]


def serialize(pipeline: str, source: str, date: str, engine: str = "") -> list[str]:
    """Makes and publishes the raw and the flat table's day, if it is closed and the source is Airflow's. It may be repeated: what is made already stays."""
    return ["serialize", pipeline, "--source", source, "--date", date, "--by", "airflow", "--closed", "--json"] + (["--engine", engine] if engine else [])


def audit(pipeline: str, source: str, date: str) -> list[str]:
    """Ends with 3 if the counts of the day differ."""
    return ["audit", pipeline, "--source", source, "--day", date]
