"""What becomes of a task whose command has ended. The exit codes are Headwater's contract with schedulers."""

from __future__ import annotations

import enum


class Outcome(enum.Enum):
    """What a scheduler does next."""

    DONE = "done"
    FAIL = "fail"  # another try would give the same
    RETRY = "retry"
    NOT_YET = "not yet"  # the day is not closed


_MEANINGS: dict[int, tuple[Outcome, str]] = {
    0: (Outcome.DONE, "done"),
    1: (Outcome.FAIL, "a fault of Headwater"),
    2: (Outcome.FAIL, "the command line or the pipeline file"),
    3: (Outcome.FAIL, "the data: another try gives the same"),
    4: (Outcome.RETRY, "something that may pass by itself"),
    5: (Outcome.NOT_YET, "the day is not closed yet"),
    6: (Outcome.FAIL, "a publish that was refused, because the day would have fewer rows or another writer was there"),
    7: (Outcome.RETRY, "another process has the data folder"),
    126: (Outcome.FAIL, "the program cannot be executed"),
    127: (Outcome.FAIL, "there is no such program"),
}


def outcome(code: int) -> Outcome:
    """The outcome of an exit code, as Popen or a pod gives it. A signal is a cancellation; if nobody has wanted it, the task is due again."""
    if code in _MEANINGS:
        return _MEANINGS[code][0]
    return Outcome.RETRY if code < 0 or code > 128 else Outcome.FAIL


def reason(code: int) -> str:
    """What an exit code says, for people."""
    if code in _MEANINGS:
        return _MEANINGS[code][1]
    if code < 0 or code > 128:
        return f"cancelled by signal {-code if code < 0 else code - 128}"
    return "an exit code that is none of Headwater's"
