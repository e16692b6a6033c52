"""The responses of a run as one parquet file, with the prompts they answer."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnvalue.dataset import Contrast
from nnvalue.models import Response
from nnvalue.values import POLES

_ROW_GROUP = 512  # responses written at once


def responses_parquet(
    contrasts: Mapping[str, Sequence[Contrast]], responses_of: Callable[[str, str], Sequence[Response]]
) -> bytes:
    """All responses, written value by value, so that only one is in memory.

    Args:
        contrasts: of each value.
        responses_of: (value, pole) -> the responses, contrast by contrast.
    """
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema(
        [(name, pyarrow.string()) for name in ("value", "pole", "situation_id", "system", "user", "text")]
        + [(name, pyarrow.int64()) for name in ("fold", "prompt_tokens", "counted_tokens")]
        + [(name, pyarrow.list_(pyarrow.int32())) for name in ("prompt_ids", "token_ids")]
        + [("finished", pyarrow.bool_())]
    )
    buffer = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for value, asked in contrasts.items():
            for pole in POLES:
                responses = responses_of(value, pole)
                for start in range(0, len(responses), _ROW_GROUP):
                    part = slice(start, start + _ROW_GROUP)
                    rows = [
                        _row(contrast, pole, response)
                        for contrast, response in zip(asked[part], responses[part], strict=True)
                    ]
                    writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
    return buffer.getvalue()


def _row(contrast: Contrast, pole: str, response: Response) -> dict[str, Any]:
    prompt = getattr(contrast, pole)
    return {
        "value": contrast.value,
        "pole": pole,
        "situation_id": contrast.situation_id,
        "system": prompt.system,
        "user": prompt.user,
        "text": response.text,
        "fold": contrast.fold,
        "prompt_tokens": len(response.prompt_ids),
        "counted_tokens": len(response.fed_ids),
        "prompt_ids": list(response.prompt_ids),
        "token_ids": list(response.token_ids),
        "finished": response.finished,
    }
