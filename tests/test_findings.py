import json

import numpy as np
import pytest

from nnvalue.artifacts import canonical_json, tensor_bytes, write_folder
from nnvalue.errors import ArtifactError, ModelError, UnknownNameError
from nnvalue.findings import KIND, SCHEMA_VERSION, ValueNeuron, ValueNeurons, build_table
from nnvalue.locator import locate
from nnvalue.models import open_model

ROWS = [
    # value, pole, layer, neuron, score, delta, p+, p-, d, q, called, q95
    (0, 1, 0, 3, 0.5, 0.5, 0.75, 0.25, 1.0, 0.25, 0, 2.0),
    (0, 1, 2, 1, 0.25, 0.25, 0.5, 0.25, 0.5, 0.25, 0, 1.0),
    (0, -1, 2, 7, -0.75, 0.75, 0.0, 0.75, -2.0, 0.25, 0, 3.0),
    (1, 1, 0, 3, 0.125, 0.125, 0.25, 0.125, 0.25, 0.25, 0, 1.5),
    (1, -1, 1, 7, -0.5, -0.5, 0.25, 0.75, -1.0, 0.25, 0, 0.5),
]


@pytest.fixture
def found():
    names = ("score", "firing_positive", "firing_negative", "effect_size", "q")
    maps = {name: np.zeros((2, 3, 8), np.float32) for name in names} | {"called": np.zeros((2, 3, 8), np.uint8)}
    return ValueNeurons(("power", "tradition"), build_table(ROWS), maps, {"model": {"name": "toy"}})


def test_top_sorts_by_strength_within_pole_and_over_both(found):
    assert [row.neuron for row in found.top("power", "positive")] == [3, 1]
    assert [row.neuron for row in found.top("power")] == [7, 3, 1]
    assert found.top("power", n=1) == [
        ValueNeuron("power", "negative", 2, 7, -0.75, 0.75, 0.0, 0.75, -2.0, 0.25, False, 3.0)
    ]


def test_by_layer_counts(found):
    assert found.by_layer("power").tolist() == [1, 0, 2]
    assert found.by_layer("power", "positive").tolist() == [1, 0, 1]


def test_overlap_is_jaccard(found):
    # power + {(0,3), (2,1)}, tradition + {(0,3)}: 1 of 2
    assert found.overlap("positive").tolist() == [[1.0, 0.5], [0.5, 1.0]]
    # with the negative ones as elements of their own: 1 of 4
    assert found.overlap().tolist() == [[1.0, 0.25], [0.25, 1.0]]


def test_some_values_only(found):
    one = found.of(["tradition"])
    assert one.values == ("tradition",)
    assert [row.neuron for row in one] == [3, 7]
    assert one.maps["effect_size"].shape == (1, 3, 8)
    assert found.of(["tradition", "power"]).values == ("power", "tradition")


def test_a_value_named_twice_is_shown_once(found):
    assert len(found.of(["power", "power"])) == len(found.of(["power"])) == 3


def test_a_data_frame_has_names(found):
    frame = found.to_pandas()
    assert list(frame.columns) == list(ValueNeuron._fields)
    assert frame["pole"].tolist() == ["positive", "positive", "negative", "positive", "negative"]


def test_unknown_names_are_refused(found):
    with pytest.raises(UnknownNameError, match="did you mean tradition"):
        found.top("traditions")
    with pytest.raises(UnknownNameError, match="no pole 'up'"):
        found.top("power", "up")


@pytest.fixture(scope="module")
def saved(organism, tmp_path_factory):
    out = tmp_path_factory.mktemp("f") / "run"
    locate(organism, values=("power",), situations=4, max_new_tokens=24, out=out)
    return out


def test_neurons_are_refused_for_another_model(saved, organism, subjects):
    found = ValueNeurons.load(saved)
    found.require_model(organism.identity())
    for dtype in ("bfloat16", "float16"):  # another precision is the same model
        found.require_model(open_model(dtype=dtype).identity())
    for subject in subjects.values():
        with pytest.raises(ModelError, match="was found in 'nnvalue/organism'"):
            found.require_model(subject.identity())
    with pytest.raises(ModelError, match="weights_sample_sha256 differs"):
        found.require_model({**organism.identity(), "weights_sample_sha256": "0"})


def test_the_card_says_how_it_was_made(saved):
    card = (saved / "README.md").read_text()
    config = json.loads((saved / "config.json").read_text())
    for fact in (
        "power",
        "`down_in`",
        "under both descriptions",
        config["dataset"]["sha256"],
        "top 1.00%",
        "split-half",
        config["versions"]["torch"],
    ):
        assert fact in card
    assert "{" not in card.split("```")[0]  # every field of the template was filled


def rewritten(saved, tmp_path, tensors=None, config=None):
    """A result folder with an intact manifest whose content nnvalue would not have written."""
    found = ValueNeurons.load(saved)
    import torch

    plain = {f"table.{k}": torch.from_numpy(v.copy()) for k, v in found.columns.items()}
    plain |= {f"map.{k}": torch.from_numpy(v.copy()) for k, v in found.maps.items()}
    files = {
        "config.json": canonical_json(
            {**found.config, "schema_version": SCHEMA_VERSION, "values": ["power"], **(config or {})}
        ),
        "neurons.safetensors": tensor_bytes((tensors or (lambda t: t))(plain)),
    }
    write_folder(tmp_path / "forged", KIND, files)
    return tmp_path / "forged"


def with_cell(column, cell):
    def change(tensors):
        tensors[column].view(-1)[0] = cell
        return tensors

    return change


@pytest.mark.parametrize(
    "harm",
    [
        with_cell("table.neuron", 10_000),
        with_cell("table.layer", -1),
        with_cell("table.pole", 0),
        with_cell("table.q95", float("nan")),
        with_cell("map.effect_size", float("inf")),
        lambda t: {**t, "table.delta": t["table.delta"][1:].clone()},
        lambda t: {**t, "map.effect_size": t["map.effect_size"][:, 1:].clone()},
    ],
)
def test_a_table_that_contradicts_itself_is_refused(saved, tmp_path, harm):
    assert ValueNeurons.load(rewritten(saved, tmp_path)).values == ("power",)
    with pytest.raises(ArtifactError, match="contradicts itself"):
        ValueNeurons.load(rewritten(saved, tmp_path, harm))


def test_missing_or_wrongly_typed_columns_and_other_versions_are_refused(saved, tmp_path):
    for harm in (
        lambda t: {k: v for k, v in t.items() if k != "table.delta"},
        lambda t: {**t, "table.layer": t["table.layer"].float()},
    ):
        with pytest.raises(ArtifactError, match="lacks 'table"):
            ValueNeurons.load(rewritten(saved, tmp_path, harm))
    for config in (
        {"settings": {}}, {"counts": {}}, {"model": "m"}, {"counts": {"power": 3}}, {"between_values": {}},
        {"between_values": {"values": [], "shared_share": None, "circle": {"r": "low"}}},
    ):  # fmt: skip
        with pytest.raises(ArtifactError, match="nnvalue did not write it"):
            ValueNeurons.load(rewritten(saved, tmp_path, config=config))
    with pytest.raises(ArtifactError, match="schema version 99"):
        ValueNeurons.load(rewritten(saved, tmp_path, config={"schema_version": 99}))
