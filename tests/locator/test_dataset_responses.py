"""Locating on the dataset's own sentence pairs."""

import numpy as np
import pytest
import torch

from nnvalue.dataset import build_sentence_contrasts, from_rows
from nnvalue.dataset.contrast import SENTENCE_QUESTION
from nnvalue.errors import DatasetError, InvalidInputError, UnknownNameError
from nnvalue.locator import gathering, locate
from nnvalue.models import encode_prompt
from nnvalue.prompts import Prompt

SETTINGS = {"values": ("power",), "situations": 12, "folds": 4, "responses": "dataset", "method": "firing_difference"}


def fired(organism, sentences):
    """Counted by hooks on plain transformers, one sentence at a time: firing rates over all sentences' tokens."""
    model, tokenizer = organism.model._module, organism.tokenizer
    prompt = encode_prompt(tokenizer, Prompt("", None, SENTENCE_QUESTION))
    total, tokens = 0.0, 0
    for sentence in sentences:
        ids, seen = tokenizer(sentence, add_special_tokens=False)["input_ids"], []
        handles = [
            layer.mlp.act_fn.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out[0, len(prompt) :]))
            for layer in model.model.layers
        ]
        with torch.no_grad():
            model(torch.tensor([[*prompt, *ids]]))
        for handle in handles:
            handle.remove()
        total = total + (torch.stack(seen) > 0).sum(1).double()
        tokens += len(ids)
    return (total / tokens).numpy()


def test_sentences_are_read_as_answers(organism, edition, monkeypatch):
    """Every token of every sentence counts once. Catches generation, a lost token, exchanged poles, a description."""
    monkeypatch.setattr(gathering, "generate_responses", lambda *_, **__: pytest.fail("it generated"))
    found = locate(organism, **SETTINGS)
    contrasts = build_sentence_contrasts(edition, "power", pairs=12, folds=4)
    rows = {row["id"]: row for row in edition.sentences}
    for pole in ("positive", "negative"):
        expected = fired(organism, [rows[contrast.situation_id][pole] for contrast in contrasts])
        assert np.allclose(found.maps[f"firing_{pole}"][0], expected, atol=1e-6)
    assert found.config["counts"]["power"]["significance"]["bar"] > 0
    table = found.response_table()
    assert {row["text"] for row in table if row["pole"] == "positive" and not row["null"]} == {
        rows[contrast.situation_id]["positive"] for contrast in contrasts
    }


def test_arms_of_a_null_are_sentences_of_one_pole_and_fold(edition):
    rows = {row["id"]: row for row in edition.sentences}
    contrasts = build_sentence_contrasts(edition, "power", pairs=12, folds=4)
    fold_of = {rows[contrast.situation_id]["negative"]: contrast.fold for contrast in contrasts}
    for drawn in build_sentence_contrasts(edition, "power", pairs=12, folds=4, null_of="negative"):
        one, other = drawn.answers.values()
        assert one != other
        assert fold_of[one] == fold_of[other] == drawn.fold
        assert drawn.positive.user == drawn.negative.user == SENTENCE_QUESTION
        assert drawn.positive.system is None


def test_what_cannot_be_read_is_refused(edition):
    with pytest.raises(DatasetError, match="5000 pairs of sentences asked for"):
        locate(**{**SETTINGS, "situations": 5000})
    with pytest.raises(InvalidInputError, match="leave out crossed"):
        locate(**SETTINGS, crossed=True)
    with pytest.raises(InvalidInputError, match="each pole's own response"):
        locate(**{**SETTINGS, "method": "effect_size"})
    with pytest.raises(UnknownNameError, match="source of responses"):
        locate(responses="nobody")
    base = {"value": "power", "facet": "f", "split": "locate"}
    descriptions = [{**base, "id": p, "pole": p, "pair": 0, "text": p} for p in ("positive", "negative")]
    mine = from_rows("mine", descriptions, [{**base, "id": "s", "core": "c", "domain": "d", "text": "text"}])
    with pytest.raises(DatasetError, match="mine has 0"):
        locate(**SETTINGS, dataset=mine)
