"""The connection: which program is run with which environment, and the HTTP API of a running Headwater."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow.exceptions import AirflowNotFoundException

from headwater_airflow.airflow_api import AirflowException, BaseHook

# It never asks a proxy, which would get the token.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Program:
    """Headwater on this machine."""

    path: str = "headwater"
    env: Mapping[str, str] = field(default_factory=dict)

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line of a command."""
        return [self.path, *arguments]

    def environment(self) -> dict[str, str]:
        """The environment of this process with that of the connection over it."""
        return {**os.environ, **self.env}


class HeadwaterHook(BaseHook):
    """A connection of type headwater.

    Its extra is JSON: {"program": "/usr/local/bin/headwater", "env": {"AWS_PROFILE": "lake"}}. Host, port and password are address and token of a running process,
    for `status`; commands do not need them, because Headwater finds the process that holds its data folder by itself.
    """

    conn_name_attr = "headwater_conn_id"
    default_conn_name = "headwater_default"
    conn_type = "headwater"
    hook_name = "Headwater"

    def __init__(self, headwater_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.headwater_conn_id = headwater_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """The form of the connection."""
        return {
            "hidden_fields": ["schema", "login"],
            "relabeling": {"password": "Token"},
            "placeholders": {"extra": '{"program": "/usr/local/bin/headwater", "env": {}}'},
        }

    def program(self) -> Program:
        """The program of the connection; without a connection of that name, headwater of PATH."""
        try:
            return _program(self.get_connection(self.headwater_conn_id))
        except AirflowNotFoundException:
            return Program()

    async def aprogram(self) -> Program:
        """program, for triggers."""
        if not hasattr(BaseHook, "aget_connection"):
            return await asyncio.to_thread(self.program)
        try:
            return _program(await self.aget_connection(self.headwater_conn_id))
        except AirflowNotFoundException:
            return Program()

    def status(self, timeout: float = 20) -> dict[str, Any]:
        """What the running process says of itself, as `headwater status --json` does."""
        connection = self.get_connection(self.headwater_conn_id)
        if not connection.host:
            raise AirflowException(f"the connection {self.headwater_conn_id} has no host: write the address of a running headwater, which its status names, and its token")
        request = urllib.request.Request(f"http://{connection.host}:{connection.port or 8080}/api/v1/status")
        request.add_header("Authorization", f"Bearer {connection.password or ''}")
        with _direct.open(request, timeout=timeout) as answer:
            return json.load(answer)

    def test_connection(self) -> tuple[bool, str]:
        """What the button Test does: the program's version and, if there is an address, the status of the process."""
        try:
            program = self.program()
            found = subprocess.run(program.command(["version"]), env=program.environment(), capture_output=True, text=True, timeout=60, check=True)
            if self.get_connection(self.headwater_conn_id).host:
                return True, f"{found.stdout.strip()}; version {self.status()['version']} is running"
            return True, found.stdout.strip()
        except (OSError, subprocess.SubprocessError, AirflowNotFoundException, AirflowException) as error:
            return False, str(error)


def _program(connection: Any) -> Program:
    extra = connection.extra_dejson
    env = extra.get("env", {})
    if not isinstance(env, dict):
        raise AirflowException(f"the connection {connection.conn_id} has an env that is no mapping")
    return Program(extra.get("program") or "headwater", {str(name): str(value) for name, value in env.items()})
