"""Where a readout keeps its work: a result that is there already is found again, an unfinished one goes on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnvalue.artifacts import Journal, digest, holds, other_settings
from nnvalue.readout.profile import KIND, ValueProfile


def finished(out: Path | None, spec: Mapping[str, Any], overwrite: bool) -> ValueProfile | None:
    """The profile at `out`, if it answers this specification: all of it stands in its `readout`.

    Raises ArtifactError for a place that is taken by something else, or by a profile of other settings unless it is to
    be overwritten; before any work is done.
    """
    if out is None or not holds(out, KIND) or overwrite:
        return None
    known = ValueProfile.load(out)
    if digest({name: known.readout.get(name) for name in spec}) == digest(spec):
        return known
    raise other_settings(out, KIND)


@contextmanager
def work_folder(out: Path | None, spec: Mapping[str, Any], overwrite: bool) -> Iterator[Journal]:
    """The journal in `<out>.work`, removed when the work inside the block is done; without `out` a temporary one."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="nnvalue-") as folder, Journal(Path(folder) / "work", spec) as journal:
            yield journal
        return
    with Journal(out.with_name(f"{out.name}.work"), spec, discard=overwrite) as journal:
        yield journal
        journal.remove()
