"""Headwater under Apache Airflow, 2.11 and 3.

What enters is a pipeline file and settings (`settings`), what leaves is a DAG for each source whose scheduler is airflow (`dags`). The tasks are commands of
Headwater (`operators`, `sensors`, `triggers`, `kubernetes`), whose exit codes say what becomes of a task (`outcome`). `pipeline`, `settings`, `outcome` and `child`
need no Airflow; `airflow_api` is the only module that knows which Airflow there is.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """What Airflow's list of providers says of this one."""
    return {
        "package-name": "airflow-provider-headwater",
        "name": "Headwater",
        "description": "Makes the tables of a Headwater pipeline, day by day.",
        "versions": [__version__],
        "connection-types": [
            {"connection-type": "headwater", "hook-class-name": "headwater_airflow.hook.HeadwaterHook", "hook-name": "Headwater"}
        ],
        "hook-class-names": ["headwater_airflow.hook.HeadwaterHook"],
    }
