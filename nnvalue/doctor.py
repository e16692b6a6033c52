"""Whether everything on this machine is as nnvalue needs it: versions, device, folders, keys, servers, what is shipped.

Nothing here changes anything, and no key leaves it: what is told of a key is whether there is one, and from where.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nnvalue import __version__
from nnvalue.errors import NnvalueError
from nnvalue.machine import GIB, memory_in_bytes, size_in_words, working_dtypes
from nnvalue.network import ApiKey, checked_host, is_this_machine

OK, WARNING, FAULT = "ok", "warning", "fault"

_LITTLE_MEMORY = 2 * GIB  # an opened organism, torch and a batch take about one
_LITTLE_DISK = GIB
_PATIENCE = 5.0  # seconds for a server's first answer
_AGAIN = "pip install --force-reinstall --no-deps nnvalue"
_MEND = "Mend what it names; a package is installed again in the environment of nnvalue."
_HUB_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
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
    parts: tuple[tuple[str, str, Callable[[], Iterator[Finding]]], ...] = (
        ("versions", FAULT, _python), ("versions", FAULT, _versions), ("extras", FAULT, _extras),
        ("device", FAULT, _device), ("folders", FAULT, _folders), ("shipped", FAULT, _shipped),
        ("hub", WARNING, lambda: iter([_hub(offline, allow_http)])),
        ("ndif", WARNING, lambda: _ndif(offline, host, allow_http)),
    )  # fmt: skip
    keys = _keys()
    for part, status, look in parts:
        for one in _whatever(part, status, look):
            told, todo, facts = _without(keys, [one.told, one.todo, one.facts])
            yield replace(one, told=told, todo=todo, facts=facts)


def _whatever(part: str, status: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What is found of a part; where looking at it fails, that is a finding of its own."""
    try:
        yield from look()
    except Exception as error:  # a doctor is called where things are broken, in ways that nobody can list
        told = " ".join(f"cannot be looked at ({type(error).__name__}: {error})".split())[:400]
        todo = _MEND if status == FAULT else "Local models and the organism work without it."
        yield Finding(part, part, status, told, todo)


def _keys() -> list[ApiKey]:
    """All keys that this machine has, sound or not, from wherever they can be read: none of them is to be told."""

    def ndif() -> ApiKey | None:
        from nnvalue.models.server import configured_key

        return configured_key()

    def hub() -> ApiKey | None:
        from huggingface_hub import get_token

        return ApiKey(get_token() or "")

    found = [ApiKey(os.environ.get(name, "")) for name in ("NDIF_API_KEY", *_HUB_NAMES)]
    for read in (ndif, hub):
        try:
            found += [key for key in [read()] if key is not None]
        except Exception:  # what could not be read cannot be told either; the part itself says what is broken
            continue
    return found


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

    total, free = memory_in_bytes()
    names = ["cpu"] + [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    for name in names:
        dtypes = working_dtypes(name)
        facts: dict[str, Any] = {"dtypes": dtypes}
        if name == "cpu":
            told = f"{torch.get_num_threads()} threads on {os.cpu_count()} processors"
            facts |= {"threads": torch.get_num_threads(), "processors": os.cpu_count()}
        elif name == "mps":
            told = "Apple GPU"
        else:
            told = torch.cuda.get_device_name(name)
            left, whole = torch.cuda.mem_get_info(name)
            told += f", {size_in_words(left)} of {size_in_words(whole)} free"
            facts |= {"memory": whole, "free": left}
        status = OK if "float32" in dtypes else FAULT
        told += f"; computes {', '.join(dtypes) or 'nothing'}"
        yield Finding("device", name, status, told, "" if status == OK else "Install torch anew.", facts)
    if free is not None and total is not None:
        short, told = free < _LITTLE_MEMORY, f"{size_in_words(free)} of {size_in_words(total)} free"
        yield Finding("device", "memory", WARNING if short else OK, told,
                      "Close other programs, or take a smaller --batch-tokens." if short else "",
                      {"memory": total, "free": free})  # fmt: skip


def _folders() -> Iterator[Finding]:
    """Where results and downloads go."""
    from huggingface_hub import constants

    yield _folder("results", Path("runs"), "Change to a folder that you may write, or give --out.")
    yield _folder("hub cache", Path(constants.HF_HUB_CACHE), "Set HF_HOME to a folder that you may write.")


def _folder(name: str, path: Path, todo: str) -> Finding:
    try:
        there = path.absolute()
        while not there.exists():  # the first write makes the rest
            there = there.parent
        free, writable = shutil.disk_usage(there).free, there.is_dir() and os.access(there, os.W_OK)
    except OSError as error:  # a folder above it may not be entered, or is gone
        facts: dict[str, Any] = {"path": str(path), "writable": False, "free": None}
        return Finding("folders", name, WARNING, f"{path} cannot be reached ({error.strerror})", todo, facts)
    facts = {"path": str(path), "writable": writable, "free": free}
    if not writable:
        return Finding("folders", name, WARNING, f"{path} cannot be written", todo, facts)
    short = free < _LITTLE_DISK
    todo = "Make room on the disk." if short else ""
    return Finding("folders", name, WARNING if short else OK, f"{path}, {size_in_words(free)} free", todo, facts)


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
            yield Finding("shipped", name, OK, f"intact, {size_in_words(sum(map(len, files.values())))}")
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


def _hub(offline: bool, allow_http: bool) -> Finding:
    """Whether the hub knows us."""
    try:  # huggingface_hub itself cannot be imported where this is no URL
        checked_host(os.environ.get("HF_ENDPOINT") or "https://huggingface.co", allow_http=True)
    except NnvalueError as error:
        return Finding("hub", "login", WARNING, f"HF_ENDPOINT: {error}", "Mend HF_ENDPOINT, or unset it.")
    from huggingface_hub import constants, get_token

    given = get_token() or ""
    token = ApiKey(given)
    source = next((name for name in _HUB_NAMES if os.environ.get(name)), "a stored login") if given.strip() else None
    facts: dict[str, Any] = {"token": source is not None, "from": source}
    configured = f"token configured: yes, from {source}" if source else "token configured: no"
    if source is not None and not token.is_sound():
        told = f"the token from {source} holds blanks or letters that no token has"
        return Finding("hub", "login", WARNING, told, "Set it again, or log in: hf auth login.", facts)
    if offline or constants.HF_HUB_OFFLINE:
        why = "--offline" if offline else "HF_HUB_OFFLINE is set"
        return Finding("hub", "login", OK, f"{configured}; not asked ({why})", facts=facts)
    try:
        checked_host(constants.ENDPOINT, allow_http or source is None)
    except NnvalueError as error:
        told = f"{configured}; not asked. {error}"
        return Finding("hub", "login", WARNING, told, "The hub's address is HF_ENDPOINT.", facts)
    if source is None:
        return Finding("hub", "login", OK, f"{configured}; public models open without one", facts=facts)
    code, answer = _whoami(f"{constants.ENDPOINT}/api/whoami-v2", token)
    if code == 200 and answer:
        who = str(answer.get("name", "somebody"))
        return Finding("hub", "login", OK, f"{configured}; {who}", facts={**facts, "name": who})
    told = f"the hub answers HTTP {code}" if code else "the hub gives no answer"
    told += ", and not as the hub does" * (code == 200)
    todo = "Log in again: hf auth login." if code in (401, 403) else "Local models and the organism work without it."
    return Finding("hub", "login", WARNING, f"{configured}; {told}", todo, {**facts, "http": code})


def _whoami(url: str, token: ApiKey) -> tuple[int | None, Mapping[str, Any]]:
    """The hub's answer: status and what it says, nothing where that is no object; None where there is no answer."""
    import httpx

    def sign(request: httpx.Request) -> httpx.Request:  # as it leaves, so that no traceback shows it
        request.headers["authorization"] = f"Bearer {token.in_full()}"
        return request

    try:  # what may go to this machine unprotected may not go to a proxy
        answer = httpx.get(url, auth=sign, timeout=_PATIENCE, trust_env=not is_this_machine(url))
    except httpx.HTTPError:
        return None, {}
    try:
        told = answer.json()
    except ValueError:  # a proxy's page, such as one that asks to log in
        told = None
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
