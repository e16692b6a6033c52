"""The page that lies with a built edition and says how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnvalue.builder.config import BuildConfig
from nnvalue.dataset import TABLES, ValueInsight
from nnvalue.values import Framework

_CARD = """---
pretty_name: {name}
configs:
{configs}
---
# {name}

Situations and people for the values of {title}, written by a language model and kept if they obey the rules of
nnvalue's builder. Nobody has read all of them.

| table | rows |
|---|---|
{rows}

- Written by: {writer}.
- Language: {language}. Seed {seed}, temperature {temperature}.
- {requests} answers, {refused} of them refusals; {prompt_tokens:,} tokens in, {completion_tokens:,} out, as told by who
  answered.
- `answers.jsonl` holds every prompt and raw answer, `rejected.jsonl` what was not taken and why, `build.json` the
  settings. The same settings and answers give the same tables.

Use: `nnvalue locate --dataset FOLDER`; look at it: `nnvalue data show FOLDER`, `nnvalue data check FOLDER`.
"""


def card(
    edition: ValueInsight,
    framework: Framework,
    config: BuildConfig,
    writer: Mapping[str, Any],
    figures: Mapping[str, Any],
) -> str:
    """The page of an edition."""
    sizes = {kind: len(getattr(edition, kind)) for kind in TABLES if len(getattr(edition, kind))}
    who = writer.get("model") or writer.get("function") or writer.get("subject", {}).get("name", "unknown")
    return _CARD.format(
        name=edition.name,
        title=framework.title,
        configs="\n".join(f"  - {{config_name: {kind}, data_files: {kind}.parquet}}" for kind in sizes),
        rows="\n".join(f"| `{kind}` | {count:,} |" for kind, count in sizes.items()),
        writer=who,
        language=config.language,
        seed=config.seed,
        temperature=config.temperature,
        **figures,
    )
