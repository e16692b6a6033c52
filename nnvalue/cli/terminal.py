"""What verbs that take their time show on stderr: bars, and no other voice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_A_DAY = 86_400.0


@contextmanager
def progress_bars(first: str = "opening the model") -> Iterator[Any]:
    """Bars on stderr: the whole run with its time left, where it tells, and the stage under way with its rate.

    first: the stage under way before anything is reported.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from nnvalue.progress import DETAIL, OVERALL

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[waiting]}"),
    )  # fmt: skip
    console = Console(stderr=True)
    shown = {"console": console, "transient": True, "disable": not console.is_terminal}
    # All of a stage counts for its speed: jobs on a server take minutes each, and rich looks back 30 s by itself.
    with Progress(*columns, **shown, speed_estimate_period=_A_DAY) as bars:
        blank = {"rate": "", "waiting": ""}
        overall = bars.add_task(OVERALL, total=None, visible=False, **blank)
        current = {"stage": first, "task": bars.add_task(first, total=None, **blank)}

        def report(stage: str, done: int, total: int) -> None:
            if stage == OVERALL:
                bars.update(overall, completed=done, total=total, visible=True)
                return
            stage, _, waiting = stage.partition(DETAIL)
            if stage != current["stage"]:
                bars.remove_task(current["task"])
                current.update(stage=stage, task=bars.add_task(stage, total=total, completed=done, **blank))
            task = current["task"]
            bars.update(task, completed=done, total=total, waiting=waiting)
            speed = next(item.speed for item in bars.tasks if item.id == task)
            bars.update(task, rate=f"{speed:.1f}/s" if speed else "")

        yield report


def quiet_libraries() -> None:
    """One voice on stderr: ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
