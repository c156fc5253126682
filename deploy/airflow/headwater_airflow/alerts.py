"""Who is told of a run that is late."""

from __future__ import annotations

import logging
from typing import Any

_log = logging.getLogger(__name__)


async def late(context: Any = None, **_: Any) -> None:
    """Writes an error to the triggerer's log: the default of the setting deadline_callback."""
    run = (context or {}).get("dag_run", {})
    name = run.get("dag_run_id") or run.get("run_id") if isinstance(run, dict) else run
    _log.error("a run of Headwater is late: %s", name)
