"""What the machine that we are on has: memory, and the types that its devices compute."""

from __future__ import annotations

import os
from pathlib import Path

GIB = 2**30


def working_dtypes(device: str) -> list[str]:
    """The types that a product of matrices can be taken in."""
    import torch

    found = []
    for name in ("float32", "bfloat16", "float16"):
        try:
            ones = torch.ones(2, 2, dtype=getattr(torch, name), device=device)
            (ones @ ones).sum().item()
        except (RuntimeError, TypeError):  # torch says that it has not implemented it
            continue
        found.append(name)
    return found


def memory_in_bytes() -> tuple[int | None, int | None]:
    """Bytes of memory, all and free; None where the system does not tell."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
        for line in Path("/proc/meminfo").read_text("utf-8").splitlines():  # with what caches would give back
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    except (AttributeError, ValueError, OSError):
        return None, None
    return total, free


def size_in_words(count: int) -> str:
    """A number of bytes, such as `1.5 GiB`."""
    for unit, size in (("GiB", GIB), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:,} bytes"
