"""The options that verbs share which ask a language model to write or to judge: which one, and how it is asked."""

from __future__ import annotations

from typing import Any

import click

from nnvalue.cli.subjects import take_subject

_ENDPOINT_OPTIONS = (
    click.option("--endpoint", metavar="URL", help="An OpenAI-compatible endpoint, up to /v1; --llm says which model."),
    click.option("--llm", metavar="NAME", help="What the endpoint calls the model."),
    click.option("--key-env", metavar="NAME", help="Environment variable with the API key.  [default: OPENAI_API_KEY]"),
    click.option("--concurrency", type=int, help="Endpoint: requests under way at one time.  [default: 8]"),
    click.option("--answer-timeout", type=float, help="Endpoint: seconds to wait for one answer.  [default: 120]"),
    click.option("--attempts", type=int, help="Endpoint: tries for one request.  [default: 6]"),
    click.option("--price-in", type=float, help="Endpoint: dollars for a million tokens of prompts, to show the cost."),
    click.option("--price-out", type=float, help="Endpoint: dollars for a million tokens of answers."),
)
_LIMITS = {"concurrency": "concurrency", "answer_timeout": "timeout", "attempts": "attempts"}
_OF_ENDPOINTS = ("llm", "key_env", "concurrency", "answer_timeout", "attempts", "price_in", "price_out")


def endpoint_options(command: Any) -> Any:
    """Add the options that name an endpoint and say how it is asked; `take_backend` takes them back out."""
    for option in reversed(_ENDPOINT_OPTIONS):
        command = option(command)
    return command


def take_endpoint(options: dict[str, Any], allow_http: bool = False) -> tuple[Any, Any] | None:
    """The endpoint that a verb's options name, and its prices if they are told; None where they name none.

    Raises click's UsageError for options about an endpoint without one.
    """
    from nnvalue.llm import Endpoint, EndpointOptions, Prices

    url = options.pop("endpoint")
    given = {name: options.pop(name) for name in _OF_ENDPOINTS}
    said = {name: value for name, value in given.items() if value is not None}
    if url is None:
        if said:
            first = next(iter(said)).replace("_", "-")
            raise click.UsageError(f"--{first} is about an endpoint; give --endpoint URL too.")
        return None
    limits = {_LIMITS[name]: value for name, value in said.items() if name in _LIMITS}
    key = {"key_variable": said["key_env"]} if "key_env" in said else {}
    endpoint = Endpoint(url, said.get("llm", ""), **key, options=EndpointOptions(**limits, allow_http=allow_http))
    priced = said.keys() & {"price_in", "price_out"}
    return endpoint, Prices(said.get("price_in", 0.0), said.get("price_out", 0.0)) if priced else None


def take_backend(options: dict[str, Any], batch_tokens: int) -> tuple[Any, Any]:
    """Who answers, and what it costs, out of a verb's options: an endpoint, or a model through nnsight.

    Raises click's UsageError for combinations that make no sense.
    """
    found = take_endpoint(options, bool(options["allow_http"]))
    if found is not None:
        if options["name"] is not None or options["remote"] or options["host"]:
            raise click.UsageError("--endpoint and --model are two who could answer; give one of them.")
        options["allow_http"] = None
        take_subject(options)  # what is left is about NDIF servers, and refused
        return found
    name, opening = take_subject(options)
    if name is None:
        raise click.UsageError("Who shall answer? Give --endpoint URL and --llm NAME, or --model FOLDER.")
    from nnvalue.cli.terminal import quiet_libraries
    from nnvalue.llm import LocalModel
    from nnvalue.models import open_model

    quiet_libraries()
    return LocalModel(open_model(name, **opening), batch_tokens), None
