"""The options that every verb shares which opens a model: which one, and where it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_OPENING = ("served_as", "dtype", "device_map", "revision")
_LIMITS = ("bundle_seconds", "bundle_bytes", "in_flight", "job_timeout", "timeout", "allow_http")
_MODEL_OPTIONS = (
    click.option("--model", "name", help="A folder or a hub id. Default: the embedded organism."),
    click.option("--remote", is_flag=True, help="Run on NDIF, or the server that nnsight is configured with."),
    click.option("--host", metavar="URL", help="Run on this NDIF server; 'dry-run' rehearses it in this process."),
    click.option("--served-as", metavar="NAME", help="What the server calls a model that lies in a local folder."),
    click.option("--dtype", help="float32, bfloat16 or float16. Default: the checkpoint's."),
    click.option("--device-map", help="As transformers takes it (auto, cuda, …); needs the extra nnvalue[device-map]."),
    click.option("--revision", help="The hub's branch, tag or commit."),
)
_SERVER_OPTIONS = (
    click.option("--bundle-seconds", type=float, help="Remote: expected run time of a job, at most.  [default: 300]"),
    click.option("--bundle-bytes", type=int, help="Remote: uncompressed size of a job, at most.  [default: 16000000]"),
    click.option("--in-flight", type=int, help="Remote: jobs at the server at one time.  [default: 2]"),
    click.option("--job-timeout", type=float, help="Remote: seconds until a job counts as lost.  [default: 7200]"),
    click.option("--timeout", type=float, help="Remote: seconds for the whole run.  [default: none]"),
    click.option("--allow-http", is_flag=True, default=None, help="Remote: allow http:// to another machine."),
)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a model and say where it runs; `take_subject` takes them back out."""
    for option in reversed(_MODEL_OPTIONS):
        command = option(command)
    return command


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options on how work is cut into jobs; they belong to `model_options`."""
    for option in reversed(_SERVER_OPTIONS):
        command = option(command)
    return command


def take_subject(options: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Take what `open_model` wants out of a verb's options: the name, and keyword arguments.

    Raises click's UsageError for combinations that make no sense.
    """
    remote, host = options.pop("remote"), options.pop("host")
    limits = {name: given for name in _LIMITS if (given := options.pop(name)) is not None}
    opening = {name: options.pop(name) for name in _OPENING}
    if limits and not (remote or host):
        first = next(iter(limits)).replace("_", "-")
        raise click.UsageError(f"--{first} is about a server; give --remote or --host too.")
    if remote or host:
        from nnvalue.models import RemoteOptions

        opening |= {"remote": host or True, "remote_options": RemoteOptions(**limits)}
    return options.pop("name"), opening
