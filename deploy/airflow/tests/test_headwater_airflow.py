"""What needs no Airflow."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
import unittest
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from headwater_airflow import commands, settings
from headwater_airflow.child import Child
from headwater_airflow.outcome import Outcome, outcome, reason
from headwater_airflow.pipeline import PipelineError, read


class Temporary(unittest.TestCase):
    """Has a folder."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path


class OutcomeTest(unittest.TestCase):
    """The contract of the exit codes."""

    def test_every_code(self) -> None:
        wanted = {0: Outcome.DONE, 5: Outcome.NOT_YET} | dict.fromkeys((4, 7, 130, 137, 143, -15, -9), Outcome.RETRY)
        for code in range(-20, 200):
            default = Outcome.RETRY if code < 0 or code > 128 else Outcome.FAIL
            self.assertIs(outcome(code), wanted.get(code, default), code)
        self.assertEqual(reason(143), reason(-15))
        self.assertIn("signal 15", reason(143))


class PipelineTest(Temporary):
    """What is read of a pipeline file."""

    def test_sources(self) -> None:
        path = self.write(
            "p.yaml",
            """
database: "${DB}"
timezone: Europe/Paris
kafka: {sasl: {password: "${SECRET}"}}
common: &mine {scheduler: airflow}
sources:
  trades: {<<: *mine, file: {path: x}}
  orders: {scheduler: airflow, tables: {raw: "r_{source}", flat: fl}}
  hooks:
  off: {scheduler: none}
""",
        )
        pipeline = read(path, {"DB": "air"})
        self.assertEqual(pipeline.timezone, "Europe/Paris")
        self.assertEqual([(s.name, s.raw_table, s.flat_table) for s in pipeline.scheduled_by("airflow")], [("trades", "air.trades_raw", "air.trades"), ("orders", "air.r_orders", "air.fl")])
        self.assertEqual([s.name for s in pipeline.scheduled_by("internal")], ["hooks"])

    def test_scheduler_of_all(self) -> None:
        path = self.write("p.yaml", "{database: a, scheduler: airflow, sources: {x: {}, y: {scheduler: none}}}")
        self.assertEqual([s.name for s in read(path).scheduled_by("airflow")], ["x"])

    def test_faults(self) -> None:
        for text, says in {
            "database: [": "reading the pipeline",
            "[]": "must be a mapping",
            "sources: {}": "database: must be a text",
            "{database: a, sources: {x: {scheduler: cron}}}": "internal, airflow, none",
            "{database: a, sources: {X: {}}}": "no name of a source",
            "{database: '${NO}', sources: {}}": "not in the environment",
        }.items():
            with self.assertRaisesRegex(PipelineError, says):
                read(self.write("p.yaml", text), {})
        with self.assertRaisesRegex(PipelineError, "reading the pipeline"):
            read(self.folder / "missing")


class SettingsTest(Temporary):
    """The file of settings."""

    def test_readme(self) -> None:
        """The README shows every setting with its default."""
        readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
        shown = readme.split("```yaml\n")[1].split("```")[0]
        self.assertEqual(settings.load(self.write("dags.yaml", shown)), settings.Settings(pipeline=str(self.folder / "pipeline.yaml")))
        for name in settings.Settings.__dataclass_fields__:
            self.assertRegex(shown, rf"(?m)^#?{name}:")

    def test_values(self) -> None:
        got = settings.load(self.write("dags.yaml", "{pipeline: /p.yaml, retry_delay: 1h30m, deadline: 2d, markers: [a], task_ids: {serialize: '{source}_flat'}}"))
        self.assertEqual((got.pipeline, got.retry_delay, got.deadline, got.markers), ("/p.yaml", timedelta(minutes=90), timedelta(days=2), ("a",)))
        self.assertEqual((got.task_id("serialize", "x"), got.task_id("wait", "x")), ("x_flat", "wait"))

    def test_faults(self) -> None:
        for text, says in {
            "[]": "names a pipeline",
            "{pipeline: p, retry: 3}": "has no retry; there are pipeline",
            "{pipeline: p, retries: '3'}": "retries: must be of type int",
            "{pipeline: p, timeout: 5}": "must be a duration",
            "{pipeline: p, runner: ssh}": "local or kubernetes",
            "{pipeline: p, runner: kubernetes}": "needs an image",
            "{pipeline: p, engine: flink}": "native, spark or auto",
            "{pipeline: p, markers: a}": "list of texts",
            "{pipeline: p, task_ids: {flat: x}}": "has no flat",
        }.items():
            with self.assertRaisesRegex(settings.SettingsError, says):
                settings.load(self.write("dags.yaml", text))

    def test_environment(self) -> None:
        self.assertEqual(settings.from_environment({"HEADWATER_PIPELINE": "p.yaml"}).pipeline, "p.yaml")
        with self.assertRaisesRegex(settings.SettingsError, "HEADWATER_DAGS"):
            settings.from_environment({})


class CommandsTest(unittest.TestCase):
    """The command lines."""

    def test_serialize(self) -> None:
        made = commands.serialize("p", "s", "2026-07-05", "spark")
        self.assertEqual(made, ["serialize", "p", "--source", "s", "--date", "2026-07-05", "--by", "airflow", "--closed", "--json", "--engine", "spark"])


class ChildTest(unittest.TestCase):
    """A command as a child."""

    def child(self, shell: str) -> tuple[Child, list[str], threading.Event]:
        said: list[str] = []
        first = threading.Event()

        def say(line: str) -> None:
            said.append(line)
            first.set()

        return Child(["/bin/sh", "-c", shell], {}, say), said, first

    def test_ends(self) -> None:
        child, said, _ = self.child("echo one >&2; echo answer; echo; echo two >&2; exit 3")
        ended = child.wait()
        self.assertEqual((ended.code, ended.out, ended.last, said), (3, "answer\n\n", "two", ["one", "two"]))

    def test_lives(self) -> None:
        """A line is told while the child runs, and stop has it end by itself."""
        child, _, first = self.child("trap 'echo drained >&2; exit 143' TERM; echo up >&2; while :; do sleep 0.05; done")
        self.assertTrue(first.wait(60))
        child.stop(60)
        ended = child.wait()
        self.assertEqual((ended.code, ended.last), (143, "drained"))

    def test_is_killed(self) -> None:
        child, _, first = self.child("trap '' TERM; echo up >&2; while :; do sleep 0.05; done")
        self.assertTrue(first.wait(60))
        child.stop(0.2)
        self.assertEqual(child.wait().code, -signal.SIGKILL)

    def test_is_stopped_in_wait(self) -> None:
        """As Airflow does it: in the handler of a signal that interrupts wait. What the child says meanwhile is read, however much it is."""
        child, said, first = self.child("trap 'seq 50000 >&2; exit 143' TERM; echo up >&2; while :; do sleep 0.05; done")
        self.assertTrue(first.wait(60))
        before = signal.signal(signal.SIGALRM, lambda *_: child.stop(60))
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        self.assertEqual((child.wait().code, len(said)), (143, 50001))


if __name__ == "__main__":
    unittest.main()
