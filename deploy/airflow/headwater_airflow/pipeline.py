"""The few keys of a pipeline file that its DAGs are made of.

The file is read here and not by Headwater, because the process that parses DAGs has neither the secrets of the file nor, where pods do the work, the
program. What is wrong with the rest of the file is told by `headwater check`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class PipelineError(ValueError):
    """A pipeline file that no DAGs can be made of."""


@dataclass(frozen=True)
class Source:
    """A source, with the full names of its tables."""

    name: str
    scheduler: str
    raw_table: str
    flat_table: str


@dataclass(frozen=True)
class Pipeline:
    """What is needed of a pipeline file."""

    path: str
    timezone: str
    sources: tuple[Source, ...]

    def scheduled_by(self, scheduler: str) -> list[Source]:
        """The sources that a scheduler owns."""
        return [source for source in self.sources if source.scheduler == scheduler]


class _Loader(yaml.SafeLoader):
    """Takes every scalar but null as the text that it is: to YAML 1.1, which PyYAML speaks, a source named on or off is a boolean."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":merge", ":null"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_SCHEDULERS = ("internal", "airflow", "none")


def read(path: str | os.PathLike[str], env: Mapping[str, str] = os.environ) -> Pipeline:
    """Reads a pipeline file. ${NAME} is put in only where a value is needed here."""
    path = Path(path).absolute()
    try:
        keys = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PipelineError(f"reading the pipeline {path}: {error}") from error
    try:
        return _pipeline(path, _mapping(keys, "the file"), env)
    except PipelineError as error:
        raise PipelineError(f"the pipeline {path}: {error}; headwater check {path} says all that is wrong") from error


def _pipeline(path: Path, keys: Mapping[str, Any], env: Mapping[str, str]) -> Pipeline:
    database = _text(keys.get("database"), "database", env)
    sources = _mapping(keys.get("sources") or {}, "sources")
    scheduler = keys.get("scheduler", "internal")
    return Pipeline(
        path=str(path),
        timezone=_text(keys.get("timezone", "UTC"), "timezone", env),
        sources=tuple(_source(name, _mapping(of or {}, f"sources.{name}"), database, scheduler, env) for name, of in sources.items()),
    )


def _source(name: Any, keys: Mapping[str, Any], database: str, scheduler: Any, env: Mapping[str, str]) -> Source:
    if not isinstance(name, str) or not _NAME.match(name):
        raise PipelineError(f"sources: {name!r} is no name of a source")
    scheduler = _text(keys.get("scheduler", scheduler), f"sources.{name}.scheduler", env)
    if scheduler not in _SCHEDULERS:
        raise PipelineError(f"sources.{name}.scheduler: must be one of {', '.join(_SCHEDULERS)}, got {scheduler!r}")
    tables = _mapping(keys.get("tables") or {}, f"sources.{name}.tables")

    def table(key: str, default: str) -> str:
        return database + "." + _text(tables.get(key, default), f"sources.{name}.tables.{key}", env).replace("{source}", name)

    return Source(name=name, scheduler=scheduler, raw_table=table("raw", "{source}_raw"), flat_table=table("flat", "{source}"))


def _mapping(value: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise PipelineError(f"{key}: must be a mapping")
    return value


def _text(value: Any, key: str, env: Mapping[str, str]) -> str:
    if not isinstance(value, str) or not value:
        raise PipelineError(f"{key}: must be a text")

    def put(found: re.Match[str]) -> str:
        if found[1] not in env:
            raise PipelineError(f"{key}: {found[0]} is not in the environment of the process that parses DAGs")
        return env[found[1]]

    return re.sub(r"\$\{([^}]*)\}", put, value)
