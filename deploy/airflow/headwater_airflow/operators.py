"""Commands of Headwater as tasks on a worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from headwater_airflow import commands
from headwater_airflow.airflow_api import AirflowFailException, BaseOperator, raise_for, raise_not_yet
from headwater_airflow.child import Child
from headwater_airflow.hook import HeadwaterHook
from headwater_airflow.outcome import Outcome, outcome


def say(log: Any) -> Callable[[str], None]:
    """Tells lines of Headwater's log at the level that they have."""

    def tell(line: str) -> None:
        level = log.warning if " level=WARN " in line else log.error if " level=ERROR " in line else log.info
        level("%s", line)

    return tell


class HeadwaterOperator(BaseOperator):
    """Runs a command, tells its log while it runs, and ends as its exit code says: 3 and others that another try would not change fail at once,
    4 and 7 are tried again, 5 is rescheduled (in Airflow 2 it is tried again, too). What it prints is the task's result, as an object if it is JSON.
    """

    template_fields: Sequence[str] = ("arguments",)
    ui_color = "#d5e8f5"

    def __init__(
        self,
        *,
        arguments: Sequence[str],
        headwater_conn_id: str = HeadwaterHook.default_conn_name,
        kill_timeout: float = 45,  # less than Airflow's killed_task_cleanup_time, 60 s
        reschedule_after: float = 60,  # after a few seconds, the scheduler may take the news of the end for that of the next beginning, which fails
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.arguments = list(arguments)
        self.headwater_conn_id = headwater_conn_id
        self.kill_timeout = kill_timeout
        self.reschedule_after = reschedule_after
        self._child: Child | None = None

    def execute(self, context: Any) -> Any:
        """Runs the command to its end."""
        program = HeadwaterHook(self.headwater_conn_id).program()
        command = program.command(self.arguments)
        self.log.info("running %s", " ".join(command))
        try:
            self._child = Child(command, program.environment(), say(self.log))
        except OSError as error:
            raise AirflowFailException(f"starting {command[0]}: {error}; its path is program in the extra of the connection {self.headwater_conn_id}") from error
        ended = self._child.wait()
        for line in ended.out.splitlines():
            self.log.info("%s", line)
        if outcome(ended.code) is Outcome.NOT_YET:
            self.log.info("the day is not closed yet")
            raise_not_yet(self.reschedule_after, ended.last)
        raise_for(ended.code, ended.last or ended.out.strip())
        return result(ended.out)

    def on_kill(self) -> None:
        """Asks the command to end, and waits for it. It logs nothing: it may have interrupted the log."""
        if self._child is not None:
            self._child.stop(self.kill_timeout)


def result(out: str) -> Any:
    """What a command has printed, as an object if it is one."""
    try:
        return json.loads(out)
    except ValueError:
        return out.strip() or None


class HeadwaterSerializeOperator(HeadwaterOperator):
    """Makes and publishes a day of the raw and the flat table of a source. Its outlets' events say of which day, and how many rows."""

    def __init__(self, *, pipeline: str, source: str, day: str, engine: str = "", **kwargs: Any) -> None:
        super().__init__(arguments=commands.serialize(pipeline, source, day, engine), **kwargs)

    def execute(self, context: Any) -> Any:
        """Runs the command. Events come also when nothing was new: after a worker that died past the publish, the next try finds nothing new."""
        made = super().execute(context)
        if isinstance(made, dict):
            for outlet in self.outlets:
                context["outlet_events"][outlet].extra.update({"day": made.get("date"), "rows": made.get("rows"), "unchanged": made.get("unchanged")})
        return made


class HeadwaterAuditOperator(HeadwaterOperator):
    """Has the counts of a day of a source checked from where it was collected to its tables; fails if they differ."""

    def __init__(self, *, pipeline: str, source: str, day: str, **kwargs: Any) -> None:
        super().__init__(arguments=commands.audit(pipeline, source, day), **kwargs)
