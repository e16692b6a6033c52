"""ValueInsight: descriptions, situations, sentence pairs, portraits, roles and items, and the prompts made of them."""

from nnvalue.dataset.checks import Fault, Report, check_edition
from nnvalue.dataset.contrast import (
    Contrast,
    build_contrasts,
    build_sentence_contrasts,
    neutral_prompt,
)
from nnvalue.dataset.edition import (
    ValueInsight,
    edition_files,
    edition_folder,
    embedded_editions,
    from_rows,
    load_valueinsight,
    write_edition,
)
from nnvalue.dataset.importing import ImportedEdition, import_edition, import_layout
from nnvalue.dataset.layouts import LAYOUTS
from nnvalue.dataset.roles import Role, generate_roles, role_of, role_row
from nnvalue.dataset.schema import (
    DESCRIPTION_COLUMNS,
    ITEM_COLUMNS,
    PORTRAIT_COLUMNS,
    ROLE_COLUMNS,
    SENTENCE_COLUMNS,
    SITUATION_COLUMNS,
    SPLITS,
    TABLES,
    Misfit,
)
from nnvalue.dataset.tables import Imported, import_table
from nnvalue.dataset.voices import SYSTEM_PROMPT, portrait_prompt, voice

__all__ = [
    "DESCRIPTION_COLUMNS",
    "ITEM_COLUMNS",
    "LAYOUTS",
    "PORTRAIT_COLUMNS",
    "ROLE_COLUMNS",
    "SENTENCE_COLUMNS",
    "SITUATION_COLUMNS",
    "SPLITS",
    "SYSTEM_PROMPT",
    "TABLES",
    "Contrast",
    "Fault",
    "Imported",
    "ImportedEdition",
    "Misfit",
    "Report",
    "Role",
    "ValueInsight",
    "build_contrasts",
    "build_sentence_contrasts",
    "check_edition",
    "edition_files",
    "edition_folder",
    "embedded_editions",
    "from_rows",
    "generate_roles",
    "import_edition",
    "import_layout",
    "import_table",
    "load_valueinsight",
    "neutral_prompt",
    "portrait_prompt",
    "role_of",
    "role_row",
    "voice",
    "write_edition",
]
