import json
import re
from collections import Counter

import pytest

from nnvalue.dataset import TABLES, edition_folder, load_valueinsight
from nnvalue.errors import DatasetError
from nnvalue.values import POLES, load_framework

NEGATION = re.compile(r"\b(not|never|no|none|nothing|nobody|without|cannot|neither|nor)\b|n't", re.IGNORECASE)


def test_the_edition_has_the_promised_size(edition):
    """The paper's counts: 80 descriptions a higher-order value and pole, 15,000 situations; and more."""
    framework = load_framework()
    per_pole = Counter((row["value"], row["pole"]) for row in edition.descriptions)
    assert set(per_pole) == {(value, pole) for value in framework.values for pole in POLES}
    assert min(per_pole.values()) >= 30
    for group in framework.groups.values():
        for pole in POLES:
            assert sum(per_pole[member, pole] for member in group.members) >= 80
    variants = Counter(edition.situations["core"])
    assert len(set(edition.situations["text"])) >= 15_000
    assert len(variants) >= 1_500
    assert max(variants.values()) <= 10
    assert len(set(edition.situations["domain"])) >= 40
    assert min(Counter(edition.sentences["value"]).values()) >= 100


def test_every_value_has_portraits_of_both_keyings_and_so_has_every_refined_value(edition):
    for column, least in (("value", 12), ("refined", 4)):
        counts = Counter((row[column], row["keying"]) for row in edition.portraits if row[column])
        named = load_framework("schwartz" if column == "value" else "schwartz19").values
        assert set(counts) == {(name, keying) for name in named for keying in POLES}
        assert min(counts.values()) >= least


def test_facets_are_of_their_value_and_stand_for_an_item_of_the_survey(edition):
    facets = load_framework().facets
    for table in (edition.situations, edition.descriptions, edition.sentences):
        assert {(row["facet"], row["value"]) for row in table} <= {
            (facet.name, facet.value) for facet in facets.values()
        }
    assert all(facet.item.startswith("SVS ") for facet in facets.values())
    assert len({facet.item for facet in facets.values()}) == len(facets)
    assert {facet.refined for facet in facets.values()} <= set(load_framework("schwartz19").values)


def test_both_splits_have_every_value_and_no_core_or_pair_in_common(edition):
    """Repeated texts are refused on loading; variants of one situation in both splits would leak all the same."""
    values = set(load_framework().values)
    for table, family in (
        (edition.descriptions, ("value", "pair")),
        (edition.situations, ("core",)),
        (edition.portraits, ("value", "refined", "pair")),
    ):
        families = {
            split: {tuple(row[name] for name in family) for row in table if row["split"] == split}
            for split in ("locate", "test")
        }
        assert not families["locate"] & families["test"]
        for split in ("locate", "test"):
            assert {row["value"] for row in table if row["split"] == split} - {None} == values


def test_situations_are_balanced_over_values(edition):
    counts = Counter(edition.situations["value"])
    assert max(counts.values()) - min(counts.values()) <= 0.05 * max(counts.values())


def test_labels_are_values_of_the_framework(edition):
    values = set(load_framework().values)
    assert set(edition.situations["value"]) == values
    assert set(edition.situations["second_value"]) - {None} <= values
    assert all(row["second_value"] != row["value"] for row in edition.situations)


def test_poles_differ_in_content_and_not_in_form(edition):
    words = {pole: [] for pole in POLES}
    for row in edition.descriptions:
        assert not NEGATION.search(row["text"]), row["text"]
        words[row["pole"]].append(len(row["text"].split()))
    means = {pole: sum(lengths) / len(lengths) for pole, lengths in words.items()}
    assert abs(means["positive"] - means["negative"]) < 1


def test_the_shipped_files_open_without_nnvalue(tmp_path):
    from datasets import load_dataset

    folder = edition_folder()
    for name, form in TABLES.items():
        if name == "items":
            continue  # none is shipped
        table = load_dataset("parquet", data_files=str(folder / f"{name}.parquet"), cache_dir=str(tmp_path))["train"]
        assert table.column_names == list(form.columns)


DESCRIPTION = {
    "id": "d1",
    "value": "power",
    "pole": "positive",
    "pair": 1,
    "facet": "rank",
    "split": "locate",
    "text": "a",
}
SITUATION = {
    "id": "s1",
    "core": "c1",
    "value": "power",
    "domain": "work",
    "facet": "rank",
    "split": "locate",
    "text": "b?",
}


PAIR = [DESCRIPTION, {**DESCRIPTION, "id": "d2", "pole": "negative", "text": "z"}]


def write(folder, descriptions, situations):
    for name, rows in (("descriptions", descriptions), ("situations", situations)):
        (folder / f"{name}.jsonl").write_text(
            "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
        )
    return folder


def test_a_folder_of_jsonl_opens_and_its_fingerprint_follows_its_content(tmp_path):
    first = load_valueinsight(write(tmp_path, PAIR, [SITUATION]))
    assert first.situations[0]["second_value"] is None
    changed = load_valueinsight(write(tmp_path, PAIR, [{**SITUATION, "text": "c?"}]))
    assert first.fingerprint != changed.fingerprint


@pytest.mark.parametrize(
    ("descriptions", "situations", "message"),
    [
        ([], [SITUATION], "descriptions is empty"),
        ([DESCRIPTION], [], "situations is empty"),
        (["{broken"], [SITUATION], "descriptions in .* cannot be read"),
        (["[1]"], [SITUATION], "not a JSON object"),
        ([{**DESCRIPTION, "pole": "up"}], [SITUATION], "row 1: pole must be"),
        ([{**DESCRIPTION, "text": " "}], [SITUATION], "row 1: column 'text' must be a text that is not empty"),
        ([{**DESCRIPTION, "pair": "1x"}], [SITUATION], "column 'pair' must be a whole number"),
        ([{k: v for k, v in DESCRIPTION.items() if k != "value"}], [SITUATION], "column 'value' is missing"),
        ([DESCRIPTION], [SITUATION, {**SITUATION, "id": "s2"}], "row 2: the text 'b\\?' stands in row 1 too"),
        ([DESCRIPTION], [SITUATION, {**SITUATION, "text": "c?"}], "row 2: the id 's1' stands in row 1 too"),
        (PAIR[:1], [SITUATION], "pair 1 of 'power' has the poles positive; it needs one of each"),
        ([*PAIR, {**PAIR[0], "id": "d3", "text": "y"}], [SITUATION], "poles positive, negative, positive"),
        ([PAIR[0], {**PAIR[1], "split": "test"}], [SITUATION], "the pair 'power 1' stands in both splits"),
        ([{**DESCRIPTION, "pair": True}], [SITUATION], "column 'pair' must be a whole number"),
        ([{**DESCRIPTION, "pair": 10**30}], [SITUATION], "column 'pair' must be a whole number"),
        ([{**DESCRIPTION, "text": "\ud800"}], [SITUATION], "column 'text' must be a text"),
        ([DESCRIPTION], [{**SITUATION, "split": "train"}], "split must be 'locate' or 'test'"),
        (
            PAIR,
            [SITUATION, {**SITUATION, "id": "s2", "text": "c?", "split": "test"}],
            "core 'c1' .* both splits",
        ),
    ],
)
def test_a_malformed_dataset_is_refused_with_the_place(tmp_path, descriptions, situations, message):
    with pytest.raises(DatasetError, match=message):
        load_valueinsight(write(tmp_path, descriptions, situations))


def test_a_missing_folder_or_file_is_said_so(tmp_path):
    with pytest.raises(DatasetError, match=r"no dataset .* Or give a folder"):
        load_valueinsight(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"has no descriptions\.parquet"):
        load_valueinsight(tmp_path)
    (tmp_path / "descriptions.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DatasetError, match="cannot be read"):
        load_valueinsight(tmp_path)
