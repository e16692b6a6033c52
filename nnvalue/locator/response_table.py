"""The responses of a run as one parquet file, with the prompts they answer."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from nnvalue.dataset import Contrast
from nnvalue.models import Response
from nnvalue.prompts import Prompt
from nnvalue.values import POLES

if TYPE_CHECKING:
    from nnvalue.locator.gathering import Gathering

_ROW_GROUP = 512  # responses written at once


def responses_parquet(gathering: Gathering) -> bytes:
    """All responses, written value by value, so that only one is in memory; `null` marks those for A/A alone."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema(
        [(name, pyarrow.string()) for name in ("value", "pole", "situation_id", "system", "user", "text")]
        + [(name, pyarrow.int64()) for name in ("fold", "prompt_tokens", "counted_tokens")]
        + [(name, pyarrow.list_(pyarrow.int32())) for name in ("prompt_ids", "token_ids")]
        + [("finished", pyarrow.bool_()), ("null", pyarrow.bool_())]
    )
    buffer = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(buffer, schema, compression="zstd") as writer:
        kinds = [(pole, null) for pole in POLES for null in ((False, True) if gathering.null_poles else (False,))]
        for value, contrasts in gathering.contrasts.items():
            for pole, null in kinds:
                prompts, responses = gathering.prompts(value, pole, null), gathering.responses(value, pole, null)
                for start in range(0, len(responses), _ROW_GROUP):
                    part = slice(start, start + _ROW_GROUP)
                    asked = zip(contrasts[part], prompts[part], responses[part], strict=True)
                    rows = [{**_row(*one), "pole": pole, "null": null} for one in asked]
                    writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
    return buffer.getvalue()


def _row(contrast: Contrast, prompt: Prompt, response: Response) -> dict[str, Any]:
    return {
        "value": contrast.value,
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
