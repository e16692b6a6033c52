"""Asking language models: one client that keeps every answer, before an endpoint, a local model or a function."""

from nnvalue.llm.client import CompletionClient, Prices, Usage, outcomes
from nnvalue.llm.endpoint import Endpoint, EndpointOptions
from nnvalue.llm.exchange import Backend, FromFunction, Reply, Request
from nnvalue.llm.local import LocalModel
from nnvalue.llm.log import AnswerLog, read_log

__all__ = [
    "AnswerLog",
    "Backend",
    "CompletionClient",
    "Endpoint",
    "EndpointOptions",
    "FromFunction",
    "LocalModel",
    "Prices",
    "Reply",
    "Request",
    "Usage",
    "outcomes",
    "read_log",
]
