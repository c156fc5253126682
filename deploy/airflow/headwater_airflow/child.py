"""A command as a child process, whose log is told line by line while it runs."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code, all of its stdout, and the last line of its stderr, which names the fault if there was one."""

    code: int
    out: str
    last: str


class Child:
    """One child process. stop may be called from a signal handler that interrupts wait: neither takes a lock that the other may hold."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], say: Callable[[str], None]) -> None:
        # A session of its own: a signal to the whole group of the worker would come beside that of stop, and to Headwater a second one means: at once.
        self._process = subprocess.Popen(
            list(command), env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
        )
        self._say, self._out, self._last = say, "", ""
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_out, self._read_err)]
        for reader in self._readers:
            reader.start()

    def _read_out(self) -> None:
        assert self._process.stdout is not None
        self._out = self._process.stdout.read()

    def _read_err(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.strip():
                self._last = line.strip()
                self._say(self._last)

    def wait(self) -> Ended:
        """Blocks until the child has ended and all that it said is told."""
        for reader in self._readers:
            while reader.is_alive():
                reader.join(0.2)
        return Ended(self._process.wait(), self._out, self._last)

    def stop(self, patience: float) -> None:
        """Asks the child to end, as SIGTERM does, and waits so many seconds for it; then it is killed, which is as safe and only wastes work."""
        self._process.terminate()
        end = time.monotonic() + patience
        while self._process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        if self._process.poll() is None:
            self._process.kill()
