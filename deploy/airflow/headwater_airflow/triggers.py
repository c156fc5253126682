"""Waiting for a day without a worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from headwater_airflow import commands
from headwater_airflow.airflow_api import BaseTrigger, TriggerEvent
from headwater_airflow.hook import HeadwaterHook, Program
from headwater_airflow.outcome import Outcome, outcome

_log = logging.getLogger(__name__)


async def ask(program: Program, arguments: list[str]) -> tuple[int, str]:
    """Runs a command and gives its exit code and the last line that it said: its answer, or its fault."""
    process = await asyncio.create_subprocess_exec(
        *program.command(arguments), env=program.environment(), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        process.kill()  # it only reads
        raise
    assert process.returncode is not None
    told = (err + out if process.returncode == 0 else out + err).decode(errors="replace").strip().splitlines()
    return process.returncode, told[-1] if told else ""


class HeadwaterDayTrigger(BaseTrigger):
    """Asks again and again whether a day is closed. It fires with the exit code when that is neither "not yet" nor something that may pass."""

    def __init__(self, pipeline: str, source: str, day: str, headwater_conn_id: str, poll: float) -> None:
        super().__init__()
        self.pipeline, self.source, self.day, self.headwater_conn_id, self.poll = pipeline, source, day, headwater_conn_id, poll

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What is kept of it in Airflow's database: no secret of the connection."""
        names = ("pipeline", "source", "day", "headwater_conn_id", "poll")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fires once."""
        arguments = commands.day(self.pipeline, self.source, self.day)
        while True:
            try:
                code, said = await ask(await HeadwaterHook(self.headwater_conn_id).aprogram(), arguments)
            except OSError as error:
                code, said = 127, f"{error}; the triggerer needs the program too"
            if outcome(code) in (Outcome.DONE, Outcome.FAIL):
                yield TriggerEvent({"code": code, "said": said})
                return
            _log.info("%s", said or f"exit code {code}")
            await asyncio.sleep(self.poll)
