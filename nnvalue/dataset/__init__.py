"""ValueInsight: value descriptions and situations, and the contrast prompts made of them."""

from nnvalue.dataset.contrast import SYSTEM_PROMPT, Contrast, build_contrasts, neutral_prompt
from nnvalue.dataset.edition import ValueInsight, from_rows, load_valueinsight, write_parquet
from nnvalue.dataset.schema import DESCRIPTION_COLUMNS, SITUATION_COLUMNS, SPLITS

__all__ = [
    "DESCRIPTION_COLUMNS",
    "SITUATION_COLUMNS",
    "SPLITS",
    "SYSTEM_PROMPT",
    "Contrast",
    "ValueInsight",
    "build_contrasts",
    "from_rows",
    "load_valueinsight",
    "neutral_prompt",
    "write_parquet",
]
