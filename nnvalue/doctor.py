"""Whether everything on this machine is as nnvalue needs it: versions, device, folders, keys, servers, what is shipped.

Nothing here changes anything, and no key leaves it: what is told of a key is whether there is one, and from where.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nnvalue import __version__
from nnvalue.errors import NnvalueError
from nnvalue.network import ApiKey

OK, WARNING, FAULT = "ok", "warning", "fault"

_GIB = 2**30
_LITTLE_MEMORY = 2 * _GIB  # an opened organism, torch and a batch take about one
_LITTLE_DISK = _GIB
_PATIENCE = 5.0  # seconds for a server's first answer
_AGAIN = "pip install --force-reinstall --no-deps nnvalue"
_NO_EXTRAS = ("dev", "bench")  # extras that are for work on nnvalue itself
_ALWAYS_TOLD = ("torch", "transformers", "nnsight", "numpy", "datasets")


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    part: what it belongs to, such as `versions`; name: the thing.
    status: `ok`; `warning`, where something may be missed; or `fault`, where a local run cannot work.
    told: what was found; todo: what to do about it; facts: the same as data.
    """

    part: str
    name: str
    status: str
    told: str
    todo: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def examine(*, offline: bool = False, host: str | None = None, allow_http: bool = False) -> Iterator[Finding]:
    """Look at everything, one thing after the other.

    Args:
        offline: ask neither the hub nor an NDIF server.
        host: the NDIF server to ask; by default the one that nnsight is configured with.
        allow_http: whether plain http may leave this machine.
    """
    for part in (_python, _versions, _extras, _device, _folders, _shipped):
        yield from part()
    keys = _keys()
    for one in (_hub(offline), *_ndif(offline, host, allow_http)):
        told, todo, facts = _without(keys, [one.told, one.todo, one.facts])
        yield replace(one, told=told, todo=todo, facts=facts)


def _keys() -> list[ApiKey]:
    from huggingface_hub import get_token

    from nnvalue.models.server import configured_key

    return [key for key in (configured_key(), ApiKey(get_token() or "")) if key is not None and key.is_sound()]


def _without(keys: list[ApiKey], data: Any) -> Any:
    """JSON data without the keys: a server may quote them wherever it likes."""
    if isinstance(data, Mapping):
        return {name: _without(keys, one) for name, one in data.items()}
    if isinstance(data, list):
        return [_without(keys, one) for one in data]
    for key in keys if isinstance(data, str) else ():
        data = key.cut_from(data)
    return data


def _python() -> Iterator[Finding]:
    yield Finding("versions", "nnvalue", OK, __version__, facts={"version": __version__})
    here, wanted = platform.python_version(), _metadata()[0]
    status = OK if wanted is None or _within(wanted, here) else FAULT
    told = here if wanted is None else f"{here}, in {wanted}" if status == OK else f"{here}, {wanted} is needed"
    yield Finding("versions", "python", status, told, "" if status == OK else "Install a newer Python.",
                  {"version": here, "range": wanted})  # fmt: skip


def _versions() -> Iterator[Finding]:
    """What nnvalue needs, by its own metadata."""
    requirements = [one for one in _metadata()[1] if not one.marker]
    if not requirements:
        yield Finding("versions", "ranges", WARNING, "nnvalue is not installed, so its ranges are not known",
                      "Run pip install . in the clone.")  # fmt: skip
    for one in requirements:
        found = _version(one.name)
        status, told = _judged(found, str(one.specifier))
        if status != OK or one.name in _ALWAYS_TOLD:
            facts = {"version": found, "range": str(one.specifier)}
            todo = "" if status == OK else f"Run pip install '{one.name}{one.specifier}'."
            yield Finding("versions", one.name, FAULT if found is None else status, told, todo, facts)


def _extras() -> Iterator[Finding]:
    """What may be there beside: nothing is wrong where it is not."""
    by_extra: dict[str, list[Any]] = {}
    for one in _metadata()[1]:
        for extra in _metadata()[2]:
            if one.marker and extra not in _NO_EXTRAS and one.marker.evaluate({"extra": extra}):
                by_extra.setdefault(extra, []).append(one)
    for extra, needed in by_extra.items():
        found = {one.name: _version(one.name) for one in needed}
        judged = [_judged(found[one.name], str(one.specifier)) for one in needed]
        if any(version is None for version in found.values()):
            yield Finding("extras", extra, OK, f"not installed; pip install 'nnvalue[{extra}]' if you need it",
                          facts={"installed": False, "versions": found})  # fmt: skip
            continue
        status = WARNING if any(status != OK for status, _ in judged) else OK
        told = ", ".join(f"{name} {told}" for name, (_, told) in zip(found, judged, strict=True))
        yield Finding("extras", extra, status, told, "" if status == OK else f"Run pip install -U 'nnvalue[{extra}]'.",
                      {"installed": True, "versions": found})  # fmt: skip


def _device() -> Iterator[Finding]:
    import torch

    total, free = _memory()
    names = ["cpu"] + [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    for name in names:
        dtypes = _dtypes(name)
        facts: dict[str, Any] = {"dtypes": dtypes}
        if name == "cpu":
            told = f"{torch.get_num_threads()} threads on {os.cpu_count()} processors"
            facts |= {"threads": torch.get_num_threads(), "processors": os.cpu_count()}
        elif name == "mps":
            told = "Apple GPU"
        else:
            told = torch.cuda.get_device_name(name)
            left, whole = torch.cuda.mem_get_info(name)
            told += f", {_size(left)} of {_size(whole)} free"
            facts |= {"memory": whole, "free": left}
        status = OK if "float32" in dtypes else FAULT
        told += f"; computes {', '.join(dtypes) or 'nothing'}"
        yield Finding("device", name, status, told, "" if status == OK else "Install torch anew.", facts)
    if free is not None and total is not None:
        short = free < _LITTLE_MEMORY
        yield Finding("device", "memory", WARNING if short else OK, f"{_size(free)} of {_size(total)} free",
                      "Close other programs, or take a smaller --batch-tokens." if short else "",
                      {"memory": total, "free": free})  # fmt: skip


def _folders() -> Iterator[Finding]:
    """Where results and downloads go."""
    from huggingface_hub import constants

    yield _folder("results", Path("runs"), "Change to a folder that you may write, or give --out.")
    yield _folder("hub cache", Path(constants.HF_HUB_CACHE), "Set HF_HOME to a folder that you may write.")


def _folder(name: str, path: Path, todo: str) -> Finding:
    there = path.absolute()
    while not there.exists():  # the first write makes the rest
        there = there.parent
    free, writable = shutil.disk_usage(there).free, there.is_dir() and os.access(there, os.W_OK)
    facts = {"path": str(path), "writable": writable, "free": free}
    if not writable:
        return Finding("folders", name, WARNING, f"{path} cannot be written", todo, facts)
    short = free < _LITTLE_DISK
    todo = "Make room on the disk." if short else ""
    return Finding("folders", name, WARNING if short else OK, f"{path}, {_size(free)} free", todo, facts)


def _shipped() -> Iterator[Finding]:
    """Whether the files that come with nnvalue are those that were packed."""
    from nnvalue.artifacts import read_folder
    from nnvalue.dataset import embedded_editions
    from nnvalue.organism import folder, sae_folder

    for name, kind, place in (
        ("organism", "organism", folder()), ("organism's autoencoder", "sparse-autoencoder", sae_folder())
    ):  # fmt: skip
        try:
            files = read_folder(place, kind)
            yield Finding("shipped", name, OK, f"intact, {_size(sum(map(len, files.values())))}")
        except NnvalueError as error:
            yield Finding("shipped", name, FAULT, str(error), f"Install nnvalue again: {_AGAIN}")
    for edition in embedded_editions():
        yield _edition(edition)


def _edition(name: str) -> Finding:
    from nnvalue.dataset import edition_folder, load_valueinsight
    from nnvalue.dataset.edition import read_manifest

    try:
        edition, told = load_valueinsight(name), read_manifest(edition_folder(name))
        rows = len(edition.situations)
        if told.get("sha256") == edition.fingerprint:
            return Finding("shipped", f"dataset {name}", OK, f"intact, {rows:,} situations")
        why = "its tables are not those that were packed"
    except NnvalueError as error:
        why = str(error)
    return Finding("shipped", f"dataset {name}", FAULT, why, f"Install nnvalue again: {_AGAIN}")


def _hub(offline: bool) -> Finding:
    """Whether the hub knows us."""
    from huggingface_hub import constants, get_token

    token = ApiKey(get_token() or "")
    source = None
    if token.is_sound():
        source = next(
            (name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), "a stored login"
        )
    facts = {"token": source is not None, "from": source}
    configured = f"token configured: yes, from {source}" if source else "token configured: no"
    if offline or constants.HF_HUB_OFFLINE:
        why = "--offline" if offline else "HF_HUB_OFFLINE is set"
        return Finding("hub", "login", OK, f"{configured}; not asked ({why})", facts=facts)
    if source is None:
        return Finding("hub", "login", OK, f"{configured}; public models open without one", facts=facts)
    code, answer = _whoami(f"{constants.ENDPOINT}/api/whoami-v2", token)
    if code == 200:
        who = str(answer.get("name", "somebody"))
        return Finding("hub", "login", OK, f"{configured}; {who}", facts={**facts, "name": who})
    told = f"{configured}; the hub {f'answers HTTP {code}' if code else 'gives no answer'}"
    todo = "Log in again: hf auth login." if code in (401, 403) else "Local models and the organism work without it."
    return Finding("hub", "login", WARNING, told, todo, {**facts, "http": code})


def _whoami(url: str, token: ApiKey) -> tuple[int | None, Mapping[str, Any]]:
    """The hub's answer: status and what it says; None where there is no answer."""
    import httpx

    def sign(request: httpx.Request) -> httpx.Request:  # as it leaves, so that no traceback shows it
        request.headers["authorization"] = f"Bearer {token.in_full()}"
        return request

    try:
        answer = httpx.get(url, auth=sign, timeout=_PATIENCE)
        told = answer.json()
    except (httpx.HTTPError, ValueError):
        return None, {}
    return answer.status_code, told if isinstance(told, dict) else {}


def _ndif(offline: bool, host: str | None, allow_http: bool) -> Iterator[Finding]:
    """Whether a key is configured, and whether the server answers."""
    from nnvalue.models.server import HOW_TO_SET_A_KEY, configured_key

    key = configured_key()
    source = None if key is None else "NDIF_API_KEY" if os.environ.get("NDIF_API_KEY") else "nnsight's configuration"
    facts = {"key": key is not None, "from": source}
    if key is None:
        told, todo = "none is configured; only remote runs need one", HOW_TO_SET_A_KEY
        yield Finding("ndif", "key", OK, told, todo, facts)
    elif not key.is_sound():
        told = f"the one from {source} holds blanks or letters that no key has"
        yield Finding("ndif", "key", WARNING, told, HOW_TO_SET_A_KEY, facts)
    else:
        told = f"configured, from {source}; whether it is accepted, the first job tells"
        yield Finding("ndif", "key", OK, told, facts=facts)
    if offline:
        yield Finding("ndif", "server", OK, "not asked (--offline)")
        return
    yield from _server(host, allow_http, key if key is not None and key.is_sound() else None)


def _server(host: str | None, allow_http: bool, key: ApiKey | None) -> Iterator[Finding]:
    from nnsight import CONFIG

    from nnvalue.models.server import Server, client_version

    try:
        server = Server(host or CONFIG.API.HOST, key, timeout=_PATIENCE, allow_http=allow_http)
        runs = server.deployed(patience=_PATIENCE)
    except NnvalueError as error:
        todo = "Local runs need no server; see docs/remote.md to use one."
        yield Finding("ndif", "server", WARNING, str(error), todo, {"host": host or CONFIG.API.HOST})
        return
    facts = {"host": server.host, "deployed": runs}
    told = f"{server.host} answers and runs {', '.join(runs) if runs else 'nothing that it tells of'}"
    yield Finding("ndif", "server", OK, told, facts=facts)
    theirs, ours = server.nnsight_version(), client_version()
    either = {"theirs": theirs, "ours": ours}
    if theirs is None:
        yield Finding("ndif", "versions", OK, f"the server does not tell its nnsight; here is {ours}", facts=either)
    elif theirs == ours:
        yield Finding("ndif", "versions", OK, f"nnsight {ours} on either side", facts=either)
    else:
        told = f"nnsight {theirs} there and {ours} here; they may not understand each other"
        yield Finding("ndif", "versions", WARNING, told, f"If jobs fail: pip install 'nnsight=={theirs}'.", either)


def _metadata() -> tuple[str | None, list[Any], list[str]]:
    """Of our own installation: the range of Python, requirements, names of extras; nothing where there is none."""
    from importlib.metadata import PackageNotFoundError, metadata

    from packaging.requirements import Requirement

    try:
        told = metadata("nnvalue")
    except PackageNotFoundError:
        return None, [], []
    requirements = [Requirement(line) for line in told.get_all("Requires-Dist") or ()]
    return (told.get_all("Requires-Python") or [None])[0], requirements, told.get_all("Provides-Extra") or []


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _within(wanted: str, version: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(wanted).contains(version, prereleases=True)


def _judged(found: str | None, wanted: str) -> tuple[str, str]:
    """A status, and a version beside the range it should lie in."""
    if found is None:
        return WARNING, f"is not installed, {wanted or 'any version'} is needed"
    if not wanted:
        return OK, found
    if _within(wanted, found):
        return OK, f"{found}, in {wanted}"
    return WARNING, f"{found} is outside of {wanted}, which nnvalue is tested with"


def _dtypes(device: str) -> list[str]:
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


def _memory() -> tuple[int | None, int | None]:
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


def _size(count: int) -> str:
    for unit, size in (("GiB", _GIB), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:,} bytes"
