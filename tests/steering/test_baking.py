"""A baked model is the steered one: against plain transformers with hooks, and against steered traces."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from nnvalue.errors import ArtifactError, InvalidInputError, ModelError
from nnvalue.models import ModulePaths, next_token_logits, open_model
from nnvalue.prompts import Prompt
from nnvalue.steering import CombinedSteering, DirectionSteering, NeuronSteering, PromptSteering, bake
from nnvalue.steering.baking import MARKER, _measure
from tests import tiny

KINDS = {
    **{family: (family, {}) for family in tiny.FAMILIES},
    "llama_bias": ("llama", {"mlp_bias": True}),
    "opt_post_norm": ("opt", {"do_layer_norm_before": False}),
    "opt_no_bias": ("opt", {"enable_bias": False}),
}
UNGATED = ("gpt2", "gpt_neox", "opt", "opt_post_norm")
WITH_BIAS = (*UNGATED, "llama_bias")
ADDING_THROUGH = ("gpt2", "gpt_neox", "opt", "llama_bias")
IDS = torch.randint(6, tiny.VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(5))
PROMPTS = [Prompt("a", None, "w1 w2 w3"), Prompt("b", "w9", "w4 w5 w6 w7 w8")]
TOLERANCE = 1e-4  # of the logits' size
FACTORS = [("scale", 0, n, -2.0) for n in range(12)] + [("set", 1, n, 0.0) for n in range(12, 30)]
SHIFTS = [("add", 1, n, 3.0) for n in range(8)] + [("set", 2, n, -4.0) for n in range(8, 16)] + FACTORS[:12]


def model(kind):
    """A tiny model whose biases are not zero."""
    family, changes = KINDS[kind]
    made = tiny.model(family, **changes)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if name.endswith(".bias") and "norm" not in name and "ln_" not in name:
                value.normal_(0, 0.3)
    return made


def opened(kind):
    return open_model(model(kind), tokenizer=tiny.tokenizer())


def logits(made):
    with torch.no_grad():
        return made(input_ids=IDS).logits.float()


def hooked_logits(kind, changes):
    """Logits at all positions of plain transformers; `changes` maps a site to what becomes of its activation."""
    made = model(kind)
    for site, change in changes.items():
        path, _, end = site.rpartition(".")
        module = made.get_submodule(path)
        if end == "output":
            module.register_forward_hook(lambda _m, _i, out, change=change: change(out))
        else:
            module.register_forward_pre_hook(lambda _m, args, change=change: (change(args[0]),))
    return logits(made)


def by_hand(edits, dose=1.0):
    """What rows of edits do to an activation, one neuron after the other."""

    def change(activation):
        a = activation.clone()
        for op, _, n, amount in edits:
            old = activation[..., n]
            a[..., n] = {
                "add": old + dose * amount,
                "scale": old * (1 + dose * (amount - 1)),
                "set": (1 - dose) * old + dose * amount,
            }[op]
        return a

    return change


def per_layer(anatomy, site, edits, dose=1.0):
    return {
        anatomy.sites(site)[layer]: by_hand([edit for edit in edits if edit[1] == layer], dose)
        for layer in {edit[1] for edit in edits}
    }


def check(subject, kind, steering, changes, out):
    """The checkpoint, opened by plain transformers, is the hooked model, and the edits matter."""
    folder = bake(subject, steering, out)
    baked, hooked, plain = (
        logits(AutoModelForCausalLM.from_pretrained(folder)), hooked_logits(kind, changes), logits(model(kind))
    )  # fmt: skip
    bound = TOLERANCE * plain.abs().max()
    assert (baked - hooked).abs().max() < bound
    assert (hooked - plain).abs().max() > 100 * bound
    traced = next_token_logits(subject, PROMPTS, steering=steering)
    again = open_model(folder, tokenizer=tiny.tokenizer())  # transformers takes Qwen's for every Qwen folder
    assert (next_token_logits(again, PROMPTS) - traced).abs().max() < bound
    return folder


@pytest.mark.parametrize("dose", [0.75, 1.0])
@pytest.mark.parametrize("site", ["gate", "down_in"])
@pytest.mark.parametrize("kind", tiny.FAMILIES)
def test_factors_bake_into_every_architecture(tmp_path, kind, site, dose):
    subject = opened(kind)
    steering = NeuronSteering.from_edits(FACTORS, site=site, scope="all", dose=dose)
    check(subject, kind, steering, per_layer(subject.anatomy, site, FACTORS, dose), tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "site"), [*((kind, "down_in") for kind in WITH_BIAS), *((kind, "gate") for kind in UNGATED)]
)
def test_shifts_bake_where_there_is_a_bias(tmp_path, kind, site):
    subject = opened(kind)
    steering = NeuronSteering.from_edits(SHIFTS, site=site, scope="all", dose=0.75)
    check(subject, kind, steering, per_layer(subject.anatomy, site, SHIFTS, 0.75), tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "place"), [*((kind, "mlp_out") for kind in WITH_BIAS), *((kind, "residual") for kind in ADDING_THROUGH)]
)
def test_directions_bake_where_there_is_a_bias(tmp_path, kind, place):
    subject = opened(kind)
    size = logits(model(kind)).abs().max()
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(1)) * size
    steering = DirectionSteering(place, (2, 0), vectors, scope="all", dose=-0.5)
    sites = subject.anatomy.block if place == "residual" else subject.anatomy.down_out
    changes = {sites[layer]: lambda a, v=vector: a - 0.5 * v for layer, vector in zip((2, 0), vectors, strict=True)}
    check(subject, kind, steering, changes, tmp_path / "out")


def test_steerings_that_meet_at_a_neuron_are_composed(tmp_path):
    subject = opened("llama_bias")
    anatomy = subject.anatomy
    gate = NeuronSteering.from_edits([("scale", 1, n, 3.0) for n in range(20)], site="gate", scope="all")
    added = NeuronSteering.from_edits([("add", 1, n, 2.0) for n in range(20)], scope="all")
    along = DirectionSteering("mlp_out", (1,), torch.ones(1, 32), scope="all")
    steering = CombinedSteering((added, along, gate, added, gate.at(0.5), along.at(2)))
    changes = {
        anatomy.gate[1]: by_hand([("scale", 1, n, 6.0) for n in range(20)]),
        anatomy.down_in[1]: by_hand([("add", 1, n, 4.0) for n in range(20)]),
        anatomy.down_out[1]: lambda a: a + 3,
    }
    check(subject, "llama_bias", steering, changes, tmp_path / "out")


@dataclass
class Foreign:
    """A steering of somebody else's."""

    made: list = field(default_factory=list)
    dose: float = 1.0

    def at(self, dose):
        return self

    def speak(self, prompt):
        return prompt

    def edits(self, anatomy):
        return self.made

    def describe(self):
        return {"kind": "foreign"}

    def require_model(self, identity):
        pass


def one_neuron(**amounts):
    given = {name: torch.tensor([[float(amount)]]) for name, amount in amounts.items()}
    return {"neurons": torch.tensor([7]), "scope": "all", **given}


def test_whatever_obeys_the_protocol_bakes_in_its_order(tmp_path):
    """a ← ((a · 2 + 5) · −3) half-way to 80 is −3 a + 32.5: another order gives another shift."""
    subject = opened("gpt2")
    gate, down_in = subject.anatomy.gate[0], subject.anatomy.down_in[0]
    steering = Foreign([
        (down_in, [one_neuron(scale=-3), one_neuron(set=80, set_share=0.5)]), (gate, [one_neuron(scale=2, add=5)])
    ])  # fmt: skip
    folder = bake(subject, steering, tmp_path / "out")
    shift, factor = by_hand([("add", 0, 7, 32.5)]), by_hand([("scale", 0, 7, -3.0)])
    expected = hooked_logits("gpt2", {down_in: lambda a: shift(factor(a))})
    size = expected.abs().max()
    assert (logits(AutoModelForCausalLM.from_pretrained(folder)) - expected).abs().max() < TOLERANCE * size
    assert (hooked_logits("gpt2", {down_in: factor}) - expected).abs().max() > 100 * TOLERANCE * size


@pytest.mark.parametrize("kind", KINDS)
def test_what_layers_do_is_measured(kind):
    """Against what is known of the architectures, in a coarse dtype too."""
    after = ("gemma2", "gemma3_text", "olmo2", "opt_post_norm")
    for dtype in (torch.float32, torch.bfloat16):
        subject = open_model(model(kind).to(dtype), tokenizer=tiny.tokenizer())
        assert _measure(subject, range(tiny.LAYERS)) == (True, kind in (*UNGATED, "opt_no_bias"), kind not in after)


def edits(*rows, **settings):
    return NeuronSteering.from_edits(rows, **{"scope": "all", **settings})


def along(place, **settings):
    return DirectionSteering(place, (1,), torch.ones(1, 32), **{"scope": "all", **settings})


@pytest.mark.parametrize(
    ("kind", "steering", "message"),
    [
        ("llama", edits(("add", 1, 3, 1.0)), r"'model\.layers\.1\.mlp\.down_proj' has no bias"),
        ("llama", edits(("set", 1, 3, 1.0)), "has no bias"),
        ("llama", edits(("add", 1, 3, 1.0), site="gate"), "has no bias"),
        ("qwen2", along("mlp_out"), "has no bias"),
        ("mistral", along("residual"), "has no bias"),
        ("gemma2", along("residual"), "has no bias"),
        ("opt_no_bias", edits(("add", 1, 3, 1.0)), r"'model\.decoder\.layers\.1\.fc2' has no bias"),
        ("llama_bias", edits(("add", 1, 3, 1.0), site="gate"), "gate of layer 1 is multiplied by the other branch"),
        ("llama_bias", edits(("set", 1, 3, 1.0), site="gate"), "gate of layer 1 is multiplied by the other branch"),
        ("opt_post_norm", along("residual"), "layer 1 something follows the down projection"),
        ("gpt2", edits(("cap", 1, 3, 0.0)), r"A cap \(in layer 1\) is no linear edit"),
        ("gpt2", edits(("scale", 1, 4, 0.0), ("floor", 1, 3, 0.0)), "A floor .* is no linear edit"),
        ("gpt2", edits(("clear", 1, 3, 0.0, 1.0)), "A cleared range .* is no linear edit"),
        ("gpt2", edits(("add", 1, 3, 1.0), keep=0.9), "left out by chance .* is no linear edit"),
        ("gpt2", along("residual", bias=torch.zeros(1), goal=0.9), "followed to a goal .* is no linear edit"),
        ("gpt2", edits(("scale", 1, 3, 0.0), scope="answer"), "has the scope 'answer'; give it scope 'all'"),
        ("gpt2", edits(("scale", 1, 3, 0.0), scope=[(0, 4)]), r"has the scope \[\[0, 4\]\]; give it scope 'all'"),
        ("gpt2", along("mlp_out", scope="answer"), "has the scope 'answer'"),
        ("gpt2", PromptSteering("w1"), "Words cannot be baked"),
        ("gpt2", CombinedSteering((edits(("scale", 1, 3, 0.0)), PromptSteering("w1"))), "Words cannot be baked"),
        ("gpt2", edits(("scale", 1, 99, 0.0)), "at neuron 99, and this model has 40"),
        ("gpt2", Foreign([("transformer.h.1.output", [{"scope": "all", "scale": torch.full((1, 32), 2.0)}])]),
         "Directions bake as additions only"),
        ("gpt2", Foreign([("transformer.h.1.mlp.act.output", [{**one_neuron(scale=2), "rows": torch.tensor([0])}])]),
         "tells rows of a batch apart"),
        ("gpt2", Foreign([("transformer.h.1.mlp.act.output", [{**one_neuron(), "scale": torch.ones(2, 1)}])]),
         "tells rows of a batch apart"),
    ],
)  # fmt: skip
def test_what_weights_cannot_do_is_refused(tmp_path, kind, steering, message):
    with pytest.raises((InvalidInputError, ModelError), match=message):
        bake(opened(kind), steering, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_models_that_are_not_here_or_not_plain_are_refused(tmp_path):
    silence = edits(("scale", 1, 3, 0.0))
    away = open_model(tiny.save(tmp_path / "gpt2", "gpt2"), remote="http://127.0.0.1:9", served_as="lab/mine")
    with pytest.raises(ModelError, match="not in memory here"):
        bake(away, silence, tmp_path / "out")
    shared = model("gpt2")
    shared.transformer.h[2].mlp.c_proj.weight = shared.transformer.h[1].mlp.c_proj.weight
    with pytest.raises(ModelError, match=r"shares its weights with 'transformer\.h\.2\.mlp\.c_proj\.weight'"):
        bake(open_model(shared, tokenizer=tiny.tokenizer()), silence, tmp_path / "out")
    quantized = model("gpt2")
    quantized.hf_quantizer = object()
    with pytest.raises(ModelError, match="is quantized or carries adapters"):
        bake(open_model(quantized, tokenizer=tiny.tokenizer()), silence, tmp_path / "out")
    odd = model("llama")
    odd.model.layers[1].mlp.down_proj.weight = torch.nn.Parameter(torch.ones(32, 40).to(torch.uint8), False)
    with pytest.raises(ModelError, match=r"'model\.layers\.1\.mlp\.down_proj' is a Linear"):
        bake(open_model(odd, tokenizer=tiny.tokenizer()), silence, tmp_path / "out")
    found_elsewhere = edits(("scale", 1, 3, 0.0), model=opened("opt").identity())
    with pytest.raises(ModelError, match="family differs"):
        bake(opened("gpt2"), found_elsewhere, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def stranger(between=None):
    """An architecture that is not known, with modules named by hand; `between` stands after the activation."""
    torch.manual_seed(0)
    config = AutoConfig.for_model("gpt_neo", vocab_size=tiny.VOCABULARY, hidden_size=16, intermediate_size=24,
        num_layers=2, num_heads=2, attention_types=[[["global"], 2]])  # fmt: skip
    made, activation = AutoModelForCausalLM.from_config(config).eval(), "mlp.act"
    if between is not None:
        for block in made.transformer.h:
            block.mlp.act = torch.nn.Sequential(block.mlp.act, between)
        activation = "mlp.act.0"
    return open_model(made, tokenizer=tiny.tokenizer(), paths=ModulePaths("transformer.h", activation, "mlp.c_proj"))


def test_an_architecture_with_paths_by_hand_is_measured_too(tmp_path):
    subject = stranger()
    vector = torch.full((1, 16), 0.3)
    steering = CombinedSteering((
        edits(("add", 0, 3, 9.0), ("scale", 1, 4, 9.0), site="gate"),
        DirectionSteering("residual", (0,), vector, scope="all"),
    ))  # fmt: skip
    baked = open_model(
        bake(subject, steering, tmp_path / "out"), paths=ModulePaths("transformer.h", "mlp.act", "mlp.c_proj")
    )
    traced, plain = (next_token_logits(subject, PROMPTS, steering=each) for each in (steering, None))
    assert (next_token_logits(baked, PROMPTS) - traced).abs().max() < 1e-4 * plain.abs().max()
    assert (traced - plain).abs().max() > 1e-2 * plain.abs().max()
    normed = stranger(torch.nn.LayerNorm(24))
    with pytest.raises(ModelError, match="more than a product follows the gate"):
        bake(normed, edits(("scale", 1, 3, 0.0), site="gate"), tmp_path / "normed")


def test_at_dose_0_the_model_is_copied(tmp_path):
    subject = opened("qwen3")
    for number, steering in enumerate((edits(("cap", 1, 3, 0.0), dose=0), PromptSteering("w1", dose=0))):
        folder = bake(subject, steering, tmp_path / str(number))
        copied = AutoModelForCausalLM.from_pretrained(folder).state_dict()
        assert all(torch.equal(copied[name], value) for name, value in model("qwen3").state_dict().items())
        assert json.loads((folder / MARKER).read_text())["changed"] == []


@pytest.mark.parametrize("kind", ["llama_bias", "gpt2"])
def test_only_what_is_edited_differs_and_the_subject_not_at_all(tmp_path, kind):
    """In bfloat16, which the checkpoint keeps."""
    made = model(kind).to(torch.bfloat16)
    subject = open_model(made, tokenizer=tiny.tokenizer())
    identity = subject.identity()
    folder = bake(subject, edits(("scale", 1, 3, 0.0), ("add", 2, 5, 1.0)), tmp_path / "out")
    assert subject.identity() == identity
    assert made.config.architectures is None  # what saving writes into a config
    before = model(kind).to(torch.bfloat16).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    after = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    path = {"llama_bias": "model.layers.{}.mlp.down_proj", "gpt2": "transformer.h.{}.mlp.c_proj"}[kind]
    assert changed == {path.format(1) + ".weight", path.format(2) + ".bias"}
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
    facts = json.loads((folder / MARKER).read_text())
    assert set(facts["changed"]) == changed
    assert facts["model"] == identity
    assert facts["steering"]["edits"] == {"scale": 1, "add": 1}
    assert {"nnvalue", "transformers"} <= set(facts["versions"])
    assert str(tmp_path) not in "".join(path.read_text() for path in folder.glob("*.json"))
    assert open_model(folder).tokenizer.chat_template == tiny.CHAT_TEMPLATE


def test_only_a_baked_model_is_replaced_and_only_if_asked(tmp_path):
    subject, silence = opened("opt"), edits(("scale", 1, 3, 0.0))
    out = tmp_path / "out"
    out.mkdir()
    bake(subject, silence, out)  # an empty folder is free
    first = (out / "model.safetensors").read_bytes()
    with pytest.raises(ArtifactError, match=r"holds a baked model already; .* overwrite"):
        bake(subject, edits(("scale", 1, 3, 2.0)), out)
    assert (out / "model.safetensors").read_bytes() == first
    bake(subject, edits(("scale", 1, 3, 2.0)), out, overwrite=True)
    assert (out / "model.safetensors").read_bytes() != first
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"holds 'notes\.txt', which nnvalue did not write"):
        bake(subject, silence, out, overwrite=True)
    for number, name in enumerate(("config.json", MARKER)):  # a model of somebody else's, and another file of that name
        other = tmp_path / f"other{number}"
        other.mkdir()
        (other / name).write_text("[]")
        with pytest.raises(ArtifactError, match="is no model that nnvalue baked"):
            bake(subject, silence, other, overwrite=True)
        assert [path.name for path in other.iterdir()] == [name]
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="is no model that nnvalue baked"):
        bake(subject, silence, tmp_path / "file", overwrite=True)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", ["save", "fsync", "rename"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, failure, at):
    subject, out = opened("opt"), tmp_path / "out"
    bake(subject, edits(("scale", 1, 3, 0.0)), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    rename = Path.rename

    def fail(*_arguments, **_options):
        raise failure

    def fail_to_put_in_place(path, target):
        return fail() if path.name.endswith(".new") else rename(path, target)

    with monkeypatch.context() as broken:
        if at == "save":
            broken.setattr(type(subject.tokenizer), "save_pretrained", fail)
        elif at == "fsync":
            broken.setattr(os, "fsync", fail)
        else:
            broken.setattr(Path, "rename", fail_to_put_in_place)
        expected = ArtifactError if isinstance(failure, OSError) else KeyboardInterrupt
        with pytest.raises(expected):
            bake(subject, edits(("scale", 1, 3, 2.0)), out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert list(tmp_path.iterdir()) == [out]


def test_what_a_kill_left_behind_is_put_right(tmp_path):
    subject, out = opened("opt"), tmp_path / "out"
    bake(subject, edits(("scale", 1, 3, 0.0)), out)
    out.rename(tmp_path / ".out.123.old")
    (tmp_path / ".out.123.new").mkdir()
    with pytest.raises(ArtifactError, match="holds a baked model already"):
        bake(subject, edits(("scale", 1, 3, 2.0)), out)
    assert list(tmp_path.iterdir()) == [out]
