"""What this package uses of Airflow, by the names of Airflow 3."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import NoReturn

from headwater_airflow.outcome import Outcome, outcome, reason

try:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import (
        DAG,
        Asset,
        BaseHook,
        BaseOperator,
        BaseSensorOperator,
        CronDataIntervalTimetable,
        Param,
        PokeReturnValue,
    )
    from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowRescheduleException

    AIRFLOW_3 = True
except ImportError:
    from airflow.datasets import Dataset as Asset
    from airflow.exceptions import AirflowException, AirflowFailException, AirflowRescheduleException
    from airflow.hooks.base import BaseHook
    from airflow.models import DAG, BaseOperator
    from airflow.models.param import Param
    from airflow.operators.empty import EmptyOperator
    from airflow.sensors.base import BaseSensorOperator, PokeReturnValue
    from airflow.timetables.interval import CronDataIntervalTimetable

    AIRFLOW_3 = False

from airflow.triggers.base import BaseTrigger, TriggerEvent

__all__ = [
    "AIRFLOW_3",
    "DAG",
    "AirflowException",
    "AirflowFailException",
    "AirflowRescheduleException",
    "Asset",
    "BaseHook",
    "BaseOperator",
    "BaseSensorOperator",
    "BaseTrigger",
    "CronDataIntervalTimetable",
    "EmptyOperator",
    "Param",
    "PokeReturnValue",
    "TriggerEvent",
    "raise_for",
    "raise_not_yet",
]


def raise_for(code: int, last: str) -> None:
    """Raises what has Airflow do with the task what an exit code wants; not for 0 and 5, which are the caller's."""
    text = f"exit code {code}, {reason(code)}" + (f": {last}" if last else "")
    if outcome(code) is Outcome.FAIL:
        raise AirflowFailException(text)
    if outcome(code) is Outcome.RETRY:
        raise AirflowException(text)


def raise_not_yet(after: float, last: str) -> NoReturn:
    """Raises what has Airflow run the task again after so many seconds, without using up a try. Airflow 2 holds only sensors back until then, so that there it does."""
    if AIRFLOW_3:
        raise AirflowRescheduleException(datetime.now(timezone.utc) + timedelta(seconds=after))
    raise AirflowException(f"exit code 5, {reason(5)}: {last}")
