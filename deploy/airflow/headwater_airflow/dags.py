"""A DAG for each source of a pipeline whose scheduler is airflow: wait for the day to close, make and publish its tables, audit it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from headwater_airflow import commands
from headwater_airflow.airflow_api import AIRFLOW_3, DAG, Asset, CronDataIntervalTimetable, EmptyOperator, Param
from headwater_airflow.operators import HeadwaterAuditOperator, HeadwaterSerializeOperator
from headwater_airflow.pipeline import Pipeline, Source, read
from headwater_airflow.sensors import HeadwaterDaySensor
from headwater_airflow.settings import Settings


def make_dags(settings: Settings) -> dict[str, DAG]:
    """The DAGs by their ids; a DAG file puts them among its globals."""
    pipeline = read(settings.pipeline)
    made: dict[str, DAG] = {}
    for source in pipeline.scheduled_by("airflow"):
        dag = make_dag(settings, pipeline, source)
        if dag.dag_id in made:
            raise ValueError(f"two sources have the dag_id {dag.dag_id}: put {{source}} into the setting dag_id")
        made[dag.dag_id] = dag
    return made


def asset(table: str) -> Asset:
    """The Asset (in Airflow 2 the Dataset) that a table is, by its full name: for schedules of other DAGs."""
    uri = "headwater://" + table.replace(".", "/")
    return Asset(name=table, uri=uri) if AIRFLOW_3 else Asset(uri)


def make_dag(settings: Settings, pipeline: Pipeline, source: Source) -> DAG:
    """The DAG of one source."""
    start = datetime.fromisoformat(settings.start_date).replace(tzinfo=ZoneInfo(pipeline.timezone))
    with DAG(
        dag_id=settings.dag_id.replace("{source}", source.name),
        description=f"Headwater: a day of {source.name} to {source.raw_table} and {source.flat_table}",
        # Intervals in both Airflows: a run is of the day in which its interval begins.
        schedule=CronDataIntervalTimetable(settings.schedule, timezone=pipeline.timezone),
        start_date=start,
        catchup=settings.catchup,
        max_active_runs=settings.max_active_runs,
        tags=list(settings.tags),
        params={"day": Param(None, type=["null", "string"], format="date", description="the day, instead of that of the run")},
        user_defined_macros={"headwater_day": _day_of(ZoneInfo(pipeline.timezone))},
        default_args=_defaults(settings),
        **_deadline(settings),
    ) as dag:
        tasks = _Tasks(settings, source, "{{ params.day or headwater_day(data_interval_start | default(none), dag_run) }}")
        published = tasks.wait() >> tasks.serialize()
        for marker in settings.markers:
            published >> EmptyOperator(task_id=marker.replace("{source}", source.name))
        if settings.audit:
            published >> tasks.audit()
    return dag


def _day_of(zone: ZoneInfo) -> Callable[[datetime | None, Any], str]:
    """What day a run is of, for templates: that in which its interval begins or, if Airflow 3 was asked for a run without a date, the day before."""

    def day(begins: datetime | None, run: Any) -> str:
        if begins is None:
            return (run.run_after.astimezone(zone).date() - timedelta(days=1)).isoformat()
        return begins.astimezone(zone).date().isoformat()

    return day


def _defaults(settings: Settings) -> dict[str, Any]:
    late = {} if AIRFLOW_3 or settings.deadline is None else {"sla": settings.deadline}
    return {
        "owner": settings.owner,
        "retries": settings.retries,
        "retry_delay": settings.retry_delay,
        "retry_exponential_backoff": True,
        "max_retry_delay": settings.max_retry_delay,
        **late,
    }


def _deadline(settings: Settings) -> dict[str, Any]:
    if settings.deadline is None or not AIRFLOW_3:
        return {}
    from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference

    callback = AsyncCallback(settings.deadline_callback)
    return {"deadline": DeadlineAlert(reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=settings.deadline, callback=callback)}


class _Tasks:
    """The tasks of one source, by the runner of the settings."""

    def __init__(self, settings: Settings, source: Source, day: str) -> None:
        self.settings, self.source, self.day = settings, source, day
        self.pipeline = settings.pipeline_of_tasks or settings.pipeline

    def wait(self) -> Any:
        s = self.settings
        common = self._common("wait", "wait until the day is closed")
        if s.runner == "kubernetes":
            return self._pod(common, commands.day(self.pipeline, self.source.name, self.day))
        return HeadwaterDaySensor(
            **self._local(common), poke_interval=s.poll.total_seconds(), timeout=s.wait_timeout.total_seconds(), execution_timeout=s.wait_timeout
        )

    def serialize(self) -> Any:
        s = self.settings
        common = self._common("serialize", "raw table, flat table, publish")
        common |= {"outlets": [asset(self.source.raw_table), asset(self.source.flat_table)], "execution_timeout": s.timeout, "pool": s.pool}
        if s.runner == "kubernetes":
            return self._pod(common, commands.serialize(self.pipeline, self.source.name, self.day, s.engine))
        return HeadwaterSerializeOperator(**self._local(common), engine=s.engine)

    def audit(self) -> Any:
        common = self._common("audit", "audit") | {"execution_timeout": self.settings.timeout}
        if self.settings.runner == "kubernetes":
            return self._pod(common, commands.audit(self.pipeline, self.source.name, self.day))
        return HeadwaterAuditOperator(**self._local(common))

    def _common(self, task: str, shown: str) -> dict[str, Any]:
        return {"task_id": self.settings.task_id(task, self.source.name), "task_display_name": shown}

    def _local(self, common: dict[str, Any]) -> dict[str, Any]:
        return common | {"pipeline": self.pipeline, "source": self.source.name, "day": self.day, "headwater_conn_id": self.settings.conn_id}

    def _pod(self, common: dict[str, Any], arguments: list[str]) -> Any:
        from headwater_airflow.kubernetes import HeadwaterPodOperator

        name = f"headwater-{arguments[0]}-{self.source.name}".replace("_", "-")
        reschedule = {"reschedule_after": self.settings.poll.total_seconds()}
        return HeadwaterPodOperator(**({"name": name, "do_xcom_push": False} | reschedule | dict(self.settings.kubernetes) | common), arguments=arguments)
