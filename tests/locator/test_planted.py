"""A model into which value neurons are written by hand: locating must find these and no others."""

import random

import pytest
import torch

from nnvalue.dataset import from_rows
from nnvalue.locator import TopK, locate
from nnvalue.models import open_model
from tests import tiny

# value -> (marker words of the poles, embedding dimension they use, dimension where every later token sees it)
MARKERS = {"power": ("w0", "w1", 0, 1), "security": ("w2", "w3", 2, 3)}
PLANTED = {
    ("power", "positive"): {(1, 3), (1, 7), (2, 11)},
    ("power", "negative"): {(1, 4), (2, 12), (2, 39)},
    ("security", "positive"): {(1, 0), (2, 5), (2, 6)},
    ("security", "negative"): {(1, 9), (1, 21), (2, 30)},
}


def planted_model():
    """Random weights on dimensions 4 and up; a description's marker word reaches dimensions 0 to 3 of later tokens.

    Layer 0 attends evenly, so that every later token holds the mean of the markers before it; a planted neuron's gate
    and up projection read that mean alone. Nothing else reads or writes these dimensions.
    """
    model = tiny.model("llama")
    words = tiny.tokenizer().get_vocab()
    with torch.no_grad():
        model.model.embed_tokens.weight[:, :4] = 0
        model.lm_head.weight[:, :4] = 0
        for silent in ("<eos>", "w0", "w1", "w2", "w3"):
            model.lm_head.weight[words[silent]] = 0  # never said, so that a response holds no marker
        for layer in model.model.layers:
            for writer in (layer.self_attn.o_proj, layer.mlp.down_proj):
                writer.weight[:4] = 0
            attention = layer.self_attn
            for reader in (
                attention.q_proj,
                attention.k_proj,
                attention.v_proj,
                layer.mlp.gate_proj,
                layer.mlp.up_proj,
            ):
                reader.weight[:, :4] = 0
        first = model.model.layers[0].self_attn
        first.q_proj.weight.zero_()
        first.k_proj.weight.zero_()
        for channel, (plus, minus, marker, seen) in enumerate(MARKERS.values()):
            model.model.embed_tokens.weight[words[plus], marker] = 60.0
            model.model.embed_tokens.weight[words[minus], marker] = -60.0
            first.v_proj.weight[channel] = 0
            first.v_proj.weight[channel, marker] = 1.0
            first.o_proj.weight[seen, channel] = 60.0
        for (value, pole), neurons in PLANTED.items():
            for layer, neuron in neurons:
                mlp = model.model.layers[layer].mlp
                mlp.gate_proj.weight[neuron] = 0
                mlp.gate_proj.weight[neuron, MARKERS[value][3]] = 1.0 if pole == "positive" else -1.0
                mlp.up_proj.weight[neuron] = mlp.gate_proj.weight[neuron]  # so that what fires is above zero
                mlp.down_proj.weight[:, neuron] = 0
    return model


def edition():
    """Descriptions of one marker word among random ones, so that the other neurons differ between the poles too."""
    rng = random.Random(0)
    free = tiny.WORDS[4:]

    def words(count):
        return " ".join(rng.choices(free, k=count))

    descriptions, situations = [], []
    for value, (plus, minus, *_) in MARKERS.items():
        for pair in range(4):
            for pole, marker in (("positive", plus), ("negative", minus)):
                row = {"id": f"{value}{pair}{pole}", "value": value, "pole": pole, "pair": pair, "facet": "f"}
                descriptions.append({**row, "split": "locate", "text": f"{marker} {words(6)}"})
        for number in range(24):
            row = {"id": f"{value}{number}", "core": f"{value}{number}", "value": value, "domain": "d", "facet": "f"}
            situations.append({**row, "split": "locate", "text": words(5)})
    return from_rows("planted", descriptions, situations)


@pytest.mark.parametrize("method", ["firing_difference", "prompt_difference"])
def test_planted_neurons_are_found_with_recall_and_precision_one(method):
    subject = open_model(planted_model(), tokenizer=tiny.tokenizer())
    found = locate(
        subject, method=method, values=tuple(MARKERS), situations=24, selection=TopK(3), max_new_tokens=8,
        dataset=edition(), system_prompt="{description}",
    )  # fmt: skip
    for (value, pole), planted in PLANTED.items():
        assert {tuple(pair) for pair in found.indices(value, pole).tolist()} == planted
        for neuron in found.top(value, pole) if method == "firing_difference" else ():
            assert (neuron.firing_positive, neuron.firing_negative) == ((1, 0) if pole == "positive" else (0, 1))
    others = abs(found.maps["score"])
    weakest = min(abs(neuron.score) for neuron in found)
    for number, value in enumerate(found.values):
        for pole in ("positive", "negative"):
            for layer, neuron in PLANTED[value, pole]:
                others[number, layer, neuron] = 0
    # On each prompt's own response the rest is not silent, so that precision is not free.
    assert (0.05 * weakest if method == "firing_difference" else 0) < others.max() < weakest
