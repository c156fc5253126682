"""Commands of Headwater as pods. It needs the cncf.kubernetes provider."""

from __future__ import annotations

from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

from headwater_airflow.airflow_api import AirflowException, raise_for, raise_not_yet
from headwater_airflow.outcome import Outcome, outcome


class HeadwaterPodOperator(KubernetesPodOperator):
    """Runs a command in a pod and ends as its exit code says. The image's entry point must be the program."""

    def __init__(self, *, reschedule_after: float = 60, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reschedule_after = reschedule_after

    def cleanup(self, pod: Any, remote_pod: Any, *args: Any, **kwargs: Any) -> None:
        """Deletes the pod as settings say, and turns its failure into what the exit code wants. Without one, as after an eviction, it is tried again."""
        try:
            super().cleanup(pod, remote_pod, *args, **kwargs)
        except AirflowException:
            code = exit_code(remote_pod, self.base_container_name)
            if code is None:
                raise
            if outcome(code) is Outcome.NOT_YET:
                raise_not_yet(self.reschedule_after, "the pod's log says what it waits for")
            raise_for(code, "")
            raise


def exit_code(pod: Any, container: str) -> int | None:
    """The exit code of a container of a pod that has ended, if Kubernetes knows one."""
    for status in (pod.status.container_statuses or []) if pod and pod.status else []:
        if status.name == container and status.state and status.state.terminated:
            return int(status.state.terminated.exit_code)
    return None
