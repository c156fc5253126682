"""Waiting for a day to close."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from headwater_airflow import commands
from headwater_airflow.airflow_api import AirflowFailException, BaseSensorOperator, raise_for
from headwater_airflow.child import Child
from headwater_airflow.hook import HeadwaterHook
from headwater_airflow.operators import say
from headwater_airflow.outcome import Outcome, outcome
from headwater_airflow.triggers import HeadwaterDayTrigger


class HeadwaterDaySensor(BaseSensorOperator):
    """Waits until a day of a source is closed: every record that has its time is in the lake. With deferrable, it waits in the triggerer, which
    then needs the program as workers do; without, on a worker, by mode poke or reschedule.
    """

    template_fields: Sequence[str] = ("pipeline", "source", "day")
    ui_color = "#e6f1d2"

    def __init__(
        self, *, pipeline: str, source: str, day: str, headwater_conn_id: str = HeadwaterHook.default_conn_name, deferrable: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline, self.source, self.day = pipeline, source, day
        self.headwater_conn_id = headwater_conn_id
        self.deferrable = deferrable

    def execute(self, context: Any) -> Any:
        """Defers unless the day is closed now."""
        if not self.deferrable:
            return super().execute(context)
        if not self.poke(context):
            trigger = HeadwaterDayTrigger(self.pipeline, self.source, self.day, self.headwater_conn_id, float(self.poke_interval))
            self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=float(self.timeout)))
        return None

    def execute_complete(self, context: Any, event: Mapping[str, Any]) -> None:
        """Takes what the trigger has found."""
        self.log.info("%s", event["said"])
        raise_for(event["code"], event["said"])

    def poke(self, context: Any) -> bool:
        """Asks once. What may pass by itself counts as not yet: the sensor's timeout ends it."""
        program = HeadwaterHook(self.headwater_conn_id).program()
        command = program.command(commands.day(self.pipeline, self.source, self.day))
        try:
            ended = Child(command, program.environment(), say(self.log)).wait()
        except OSError as error:
            raise AirflowFailException(f"starting {command[0]}: {error}; its path is program in the extra of the connection {self.headwater_conn_id}") from error
        for line in ended.out.splitlines():
            self.log.info("%s", line)
        if outcome(ended.code) is Outcome.FAIL:
            raise_for(ended.code, ended.last)
        return outcome(ended.code) is Outcome.DONE
