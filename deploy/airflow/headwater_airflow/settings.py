"""How the DAGs of a pipeline are to be, as a YAML file or as arguments."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml


class SettingsError(ValueError):
    """Settings that cannot be kept."""


@dataclass(frozen=True)
class Settings:
    """Durations are written as 90s, 5m, 1h30m or 2d in a file. dag_id, the task ids and markers may have {source}."""

    # The pipeline file, as the process that parses DAGs finds it.
    pipeline: str
    # The same file as the tasks find it, if that is elsewhere, as in a pod.
    pipeline_of_tasks: str = ""
    # local runs the program of the connection on the worker; kubernetes runs it in a pod.
    runner: str = "local"
    # native, spark or auto, instead of what the pipeline file says. With spark, Headwater itself calls spark-submit.
    engine: str = ""
    # The Airflow connection of type headwater; none of that name means the program headwater of PATH.
    conn_id: str = "headwater_default"
    dag_id: str = "headwater_{source}"
    # The ids of the tasks wait, serialize and audit.
    task_ids: Mapping[str, str] = field(default_factory=dict)
    # Ids of empty tasks that come after the publish, for sensors of other DAGs that wait for tasks of an older one.
    markers: tuple[str, ...] = ()
    # When a day is due, in the pipeline's time zone: five fields of cron that fire once a day, after midnight.
    schedule: str = "10 0 * * *"
    start_date: str = "2020-01-01"
    # Whether days before now are made by themselves when a DAG is switched on; airflow backfill makes them on request.
    catchup: bool = False
    max_active_runs: int = 1
    # The pool of the tasks that write tables; one slot keeps DAGs from waiting for each other's data folder.
    pool: str = "default_pool"
    audit: bool = True
    retries: int = 8
    retry_delay: timedelta = timedelta(minutes=1)
    max_retry_delay: timedelta = timedelta(minutes=30)
    # How long one try may take.
    timeout: timedelta = timedelta(hours=6)
    # How often it is asked whether a day is closed, and for how long before the run fails.
    poll: timedelta = timedelta(minutes=1)
    wait_timeout: timedelta = timedelta(days=3)
    # After how long a run is late (a DeadlineAlert where Airflow has it, an SLA in Airflow 2), and which async function is told.
    deadline: timedelta | None = None
    deadline_callback: str = "headwater_airflow.alerts.late"
    tags: tuple[str, ...] = ("headwater",)
    owner: str = "headwater"
    # Arguments of KubernetesPodOperator: image, namespace, env_from, volumes and so on.
    kubernetes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.runner not in ("local", "kubernetes"):
            raise SettingsError(f"runner: must be local or kubernetes, got {self.runner!r}")
        if self.runner == "kubernetes" and not self.kubernetes.get("image"):
            raise SettingsError("kubernetes: needs an image")
        if self.engine not in ("", "native", "spark", "auto"):
            raise SettingsError(f"engine: must be native, spark or auto, got {self.engine!r}")
        if unknown := set(self.task_ids) - set(TASKS):
            raise SettingsError(f"task_ids: has no {', '.join(sorted(unknown))}; the tasks are {', '.join(TASKS)}")

    def task_id(self, task: str, source: str) -> str:
        """The id of wait, serialize or audit in the DAG of a source."""
        return self.task_ids.get(task, task).replace("{source}", source)


TASKS = ("wait", "serialize", "audit")


def load(path: str | os.PathLike[str]) -> Settings:
    """Reads settings from a YAML file. Relative paths are relative to its folder."""
    path = Path(path).absolute()
    try:
        keys = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"reading the settings {path}: {error}") from error
    try:
        return parse(keys, path.parent)
    except SettingsError as error:
        raise SettingsError(f"the settings {path}: {error}") from error


def from_environment(env: Mapping[str, str] = os.environ) -> Settings:
    """The settings in the file that HEADWATER_DAGS names, or the defaults for the pipeline that HEADWATER_PIPELINE names."""
    if path := env.get("HEADWATER_DAGS"):
        return load(path)
    if path := env.get("HEADWATER_PIPELINE"):
        return Settings(pipeline=path)
    raise SettingsError("set HEADWATER_DAGS to a file of settings, or HEADWATER_PIPELINE to a pipeline file, for the process that parses DAGs and for workers")


def parse(keys: Any, folder: Path) -> Settings:
    """Makes settings of what a YAML file has."""
    if not isinstance(keys, dict) or not isinstance(keys.get("pipeline"), str):
        raise SettingsError("must be a mapping that names a pipeline")
    known = {f.name: f.type for f in dataclasses.fields(Settings)}
    if unknown := [str(key) for key in keys if key not in known]:
        raise SettingsError(f"has no {', '.join(unknown)}; there are {', '.join(known)}")
    values = {key: _value(key, str(known[key]), value) for key, value in keys.items()}
    return Settings(**{**values, "pipeline": str(folder / keys["pipeline"])})


def _value(key: str, kind: str, value: Any) -> Any:
    if kind.startswith("timedelta"):
        return None if value is None and "None" in kind else duration(key, value)
    if kind.startswith("tuple"):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise SettingsError(f"{key}: must be a list of texts")
        return tuple(value)
    wanted: type = {"str": str, "int": int, "bool": bool}.get(kind, dict)
    if type(value) is not wanted:
        raise SettingsError(f"{key}: must be of type {wanted.__name__}, got {value!r}")
    return value


_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def duration(key: str, value: Any) -> timedelta:
    """Reads 90s, 5m, 1h30m, 2d."""
    if not isinstance(value, str) or not re.fullmatch(r"(\d+[dhms])+", value):
        raise SettingsError(f"{key}: must be a duration as 90s, 5m or 1h30m, got {value!r}")
    return sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in re.findall(r"(\d+)([dhms])", value)), timedelta())
