"""Models: opening one, where its neurons are, chat formatting, batches, and the generator of responses."""

from nnvalue.models.anatomy import SITES, Anatomy, ModulePaths, known_families, resolve_anatomy
from nnvalue.models.batching import pad_left, plan_batches
from nnvalue.models.chat import encode_prompt, render_prompt
from nnvalue.models.decoding import next_token_logits
from nnvalue.models.generation import Response, generate_responses
from nnvalue.models.jobs import Bundle
from nnvalue.models.likelihood import negative_log_likelihoods
from nnvalue.models.options import option_log_probabilities
from nnvalue.models.runtime import Load, RemoteOptions
from nnvalue.models.subject import EMBEDDED_NAME, Subject, find_server, open_model

__all__ = [
    "EMBEDDED_NAME",
    "SITES",
    "Anatomy",
    "Bundle",
    "Load",
    "ModulePaths",
    "RemoteOptions",
    "Response",
    "Subject",
    "encode_prompt",
    "find_server",
    "generate_responses",
    "known_families",
    "negative_log_likelihoods",
    "next_token_logits",
    "open_model",
    "option_log_probabilities",
    "pad_left",
    "plan_batches",
    "render_prompt",
    "resolve_anatomy",
]
