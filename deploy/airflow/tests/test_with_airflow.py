"""What needs Airflow, 2 or 3, but none that runs; test_provider wants the wheel installed."""

from __future__ import annotations

import asyncio
import os
import tempfile
import unittest
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).parent

# Pods are made for a cluster that there is not.
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: none
clusters: [{name: none, cluster: {server: "http://127.0.0.1:9"}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
users: [{name: none, user: {}}]
"""

PIPELINE = """
database: air
timezone: Europe/Paris
sources:
  trades: {scheduler: airflow, file: {path: x}}
  off: {scheduler: airflow, tables: {flat: "{source}_flat"}, file: {path: z}}
  mine: {file: {path: y}}
"""

if find_spec("airflow"):
    from headwater_airflow import __version__, get_provider_info
    from headwater_airflow.airflow_api import AIRFLOW_3, AirflowException, AirflowFailException, AirflowRescheduleException
    from headwater_airflow.dags import make_dags
    from headwater_airflow.hook import Program
    from headwater_airflow.operators import HeadwaterOperator
    from headwater_airflow.settings import parse
    from headwater_airflow.triggers import HeadwaterDayTrigger, ask


@unittest.skipUnless(find_spec("airflow"), "there is no Airflow")
class WithAirflow(unittest.TestCase):
    """Has a pipeline file."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")

    def dags(self, **keys: Any) -> dict[str, Any]:
        return make_dags(parse({"pipeline": "pipeline.yaml", **keys}, self.folder))

    def test_dag_file(self) -> None:
        """The DAG file as Airflow finds it in its folder, and its DAGs as Airflow keeps them."""
        if AIRFLOW_3:
            from airflow.dag_processing.dagbag import DagBag
        else:
            from airflow.models.dagbag import DagBag
        os.environ["HEADWATER_PIPELINE"] = str(self.folder / "pipeline.yaml")
        bag = DagBag(dag_folder=str(HERE.parent / "dags"))
        self.assertEqual(bag.import_errors, {})
        self.assertEqual(sorted(bag.dags), ["headwater_off", "headwater_trades"])
        for dag in bag.dags.values():
            self.assertEqual([task.task_id for task in dag.topological_sort()], ["wait", "serialize", "audit"])
        outlets = bag.dags["headwater_off"].get_task("serialize").outlets
        self.assertEqual([outlet.uri for outlet in outlets], ["headwater://air/off_raw", "headwater://air/off_flat"])
        if AIRFLOW_3:
            from airflow.serialization.serialized_objects import DagSerialization

            DagSerialization.to_dict(bag.dags["headwater_off"])
        else:
            from airflow.serialization.serialized_objects import SerializedDAG

            SerializedDAG.from_dict(SerializedDAG.to_dict(bag.dags["headwater_off"]))

    def test_ids(self) -> None:
        """The ids of an older DAG."""
        dags = self.dags(dag_id="daily_{source}", task_ids={"serialize": "{source}_load"}, markers=["{source}_raw", "flat"], audit=False)
        self.assertEqual({task.task_id for task in dags["daily_trades"].tasks}, {"wait", "trades_load", "trades_raw", "flat"})
        with self.assertRaisesRegex(ValueError, "two sources"):
            self.dags(dag_id="one")

    def test_day(self) -> None:
        """The day of a run, in the pipeline's time zone: here that of Paris, an hour or two before UTC."""
        for begins, run_after, conf, day in [
            ("2026-07-04T22:10+00:00", "2026-07-05T22:10+00:00", None, "2026-07-05"),
            (None, "2026-07-05T22:10+00:00", None, "2026-07-05"),
            (None, "2026-07-05T21:50+00:00", None, "2026-07-04"),
            ("2026-07-04T22:10+00:00", "2026-07-05T22:10+00:00", "2026-01-01", "2026-01-01"),
        ]:
            task = self.dags()["headwater_trades"].get_task("serialize")
            context: dict[str, Any] = {"params": SimpleNamespace(day=conf), "dag_run": SimpleNamespace(run_after=datetime.fromisoformat(run_after))}
            if begins:
                context["data_interval_start"] = datetime.fromisoformat(begins)
            task.render_template_fields(context)
            self.assertEqual(task.arguments[5], day)

    def test_deadline(self) -> None:
        dag = self.dags(deadline="4h")["headwater_trades"]
        if AIRFLOW_3:
            alerts = dag.deadline if isinstance(dag.deadline, list) else [dag.deadline]
            self.assertEqual([(alert.interval.total_seconds(), alert.callback.path) for alert in alerts], [(14400, "headwater_airflow.alerts.late")])
        else:
            self.assertEqual(dag.get_task("serialize").sla.total_seconds(), 14400)

    def test_spark(self) -> None:
        task = self.dags(engine="spark")["headwater_trades"].get_task("serialize")
        self.assertEqual(task.arguments[-2:], ["--engine", "spark"])

    def test_pods(self) -> None:
        """The specs of the pods, and what their exit codes come to."""
        from kubernetes.client import models as k8s

        os.environ["AIRFLOW_CONN_KUBERNETES_DEFAULT"] = '{"conn_type": "kubernetes"}'
        config = self.folder / "kubeconfig"
        config.write_text(KUBECONFIG, encoding="utf-8")
        keys = {"image": "hw:1", "namespace": "lake", "env_vars": {"A": "b"}, "config_file": str(config)}
        dag = self.dags(runner="kubernetes", pipeline_of_tasks="/etc/p.yaml", kubernetes=keys)["headwater_trades"]
        specs = {task.task_id: task.build_pod_request_obj() for task in dag.tasks}
        for task, words in {
            "wait": ["day", "/etc/p.yaml", "--source", "trades", "--date"],
            "serialize": ["serialize", "/etc/p.yaml", "--source", "trades", "--date"],
            "audit": ["audit", "/etc/p.yaml", "--source", "trades", "--day"],
        }.items():
            base = specs[task].spec.containers[0]
            self.assertEqual((base.image, base.command or [], base.args[:5], specs[task].metadata.namespace), ("hw:1", [], words, "lake"))
            self.assertIn("headwater_day(", base.args[5])
            self.assertEqual([(env.name, env.value) for env in base.env], [("A", "b")])
            self.assertEqual(specs[task].spec.restart_policy, "Never")

        def ended(code: int) -> Any:
            state = k8s.V1ContainerState(terminated=k8s.V1ContainerStateTerminated(exit_code=code))
            status = k8s.V1ContainerStatus(name="base", image="hw:1", image_id="", ready=False, restart_count=0, state=state)
            phase = "Failed" if code else "Succeeded"
            return k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="p", namespace="lake"), spec=specs["wait"].spec, status=k8s.V1PodStatus(phase=phase, container_statuses=[status]))

        task = dag.get_task("wait")
        task.is_istio_enabled = lambda _: False
        task.patch_already_checked = task.process_pod_deletion = task._read_pod_container_states = task._read_pod_events = lambda *_, **__: None
        not_yet = AirflowRescheduleException if AIRFLOW_3 else AirflowException
        for code, wanted in {3: AirflowFailException, 6: AirflowFailException, 4: AirflowException, 7: AirflowException, 143: AirflowException, 5: not_yet}.items():
            with self.assertRaises(wanted) as raised:
                task.cleanup(ended(code), ended(code))
            self.assertIs(type(raised.exception), wanted, code)
        task.cleanup(ended(0), ended(0))

    def test_operator(self) -> None:
        """What exit codes of a command come to."""

        def run(shell: str) -> Any:
            os.environ["AIRFLOW_CONN_SHELL"] = '{"conn_type": "headwater", "extra": {"program": "/bin/sh", "env": {"ANSWER": "{\\"rows\\": 7}"}}}'
            return HeadwaterOperator(task_id="x", arguments=["-c", shell], headwater_conn_id="shell").execute({})

        self.assertEqual(run('echo "$ANSWER"'), {"rows": 7})
        not_yet = AirflowRescheduleException if AIRFLOW_3 else AirflowException
        for code, wanted in {1: AirflowFailException, 3: AirflowFailException, 4: AirflowException, 5: not_yet, 7: AirflowException}.items():
            with self.assertRaises(wanted) as raised:
                run(f"echo why >&2; exit {code}")
            self.assertIs(type(raised.exception), wanted, code)
            if code != 5 or not AIRFLOW_3:
                self.assertRegex(str(raised.exception), f"exit code {code}, .*: why")
        with self.assertRaisesRegex(AirflowFailException, "starting /none"):
            os.environ["AIRFLOW_CONN_NONE"] = '{"conn_type": "headwater", "extra": {"program": "/none"}}'
            HeadwaterOperator(task_id="x", arguments=[], headwater_conn_id="none").execute({})

    def test_events(self) -> None:
        """What the events of both tables say."""
        if AIRFLOW_3:
            from airflow.sdk.execution_time.context import OutletEventAccessors
        else:
            from airflow.utils.context import OutletEventAccessors
        script = self.folder / "headwater"
        script.write_text('#!/bin/sh\necho \'{"date": "2026-07-05", "rows": 7, "unchanged": false}\'\n')
        script.chmod(0o755)
        os.environ["AIRFLOW_CONN_HEADWATER_DEFAULT"] = f'{{"conn_type": "headwater", "extra": {{"program": "{script}"}}}}'
        task, events = self.dags()["headwater_trades"].get_task("serialize"), OutletEventAccessors()
        task.execute({"outlet_events": events})
        self.assertEqual([events[outlet].extra for outlet in task.outlets], [{"day": "2026-07-05", "rows": 7, "unchanged": False}] * 2)

    def test_trigger(self) -> None:
        """It asks until the day is closed, past what may pass by itself, and gives up on what will not."""
        script = self.folder / "headwater"
        # 4, then 5 twice, then 0, and 3 for ever.
        script.write_text(f'#!/bin/sh\necho x >>{self.folder}/asked\nset -- $(wc -l <{self.folder}/asked)\ncase $1 in 1) exit 4;; 2|3) exit 5;; 4) exit 0;; esac\necho broken >&2\nexit 3\n')
        script.chmod(0o755)
        os.environ["AIRFLOW_CONN_ASK"] = f'{{"conn_type": "headwater", "extra": {{"program": "{script}"}}}}'
        path, kept = HeadwaterDayTrigger("p", "s", "2026-07-05", "ask", 0.01).serialize()
        self.assertEqual(path, "headwater_airflow.triggers.HeadwaterDayTrigger")

        async def first() -> Any:
            async for event in HeadwaterDayTrigger(**kept).run():
                return event.payload

        self.assertEqual(asyncio.run(first()), {"code": 0, "said": ""})
        self.assertEqual(asyncio.run(first()), {"code": 3, "said": "broken"})
        self.assertEqual(asyncio.run(ask(Program("/bin/sh"), ["-c", "echo why; exit 5"])), (5, "why"))

    def test_provider(self) -> None:
        """The entry point and its metadata."""
        from importlib.metadata import entry_points, version

        found = {entry.value for entry in entry_points(group="apache_airflow_provider")}
        self.assertIn("headwater_airflow:get_provider_info", found)
        self.assertEqual(version("airflow-provider-headwater"), __version__)
        from airflow.providers_manager import ProvidersManager

        manager = ProvidersManager()
        self.assertEqual(manager.providers["airflow-provider-headwater"].version, __version__)
        self.assertEqual(manager.hooks["headwater"].hook_name, "Headwater")
        self.assertEqual(get_provider_info()["connection-types"][0]["connection-type"], "headwater")


if __name__ == "__main__":
    unittest.main()
