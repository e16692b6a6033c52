"""Output scores and features at words against plain transformers."""

import pytest
import torch

from nnvalue.errors import InvalidInputError
from nnvalue.models import encode_prompt
from nnvalue.prompts import Prompt
from nnvalue.sae import active_at, output_scores
from tests.sae.test_locating import SITE, random_sae


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neox", "opt"])
def test_output_scores_are_the_formula(subjects, family):
    """Ranks the wrong way round, a norm left out, a shift at every token: each gives other figures."""
    subject = subjects[family]
    site = subject.anatomy.block[1]
    sae = random_sae(width=32, count=40, site=site)
    chosen = [3, 8, 21, 30]
    found = output_scores(subject, sae, chosen, lead="w3 w4 w5", tokens=5, amplified=2.0)
    module = subject.model._module
    ids = torch.tensor([subject.tokenizer("w3 w4 w5")["input_ids"]])
    layer = module.get_submodule(site.removesuffix(".output"))
    base = module.base_model
    norm = next(
        getattr(holder, name)
        for holder in (base, getattr(base, "decoder", None)) if holder is not None
        for name in ("norm", "ln_f", "final_layer_norm") if hasattr(holder, name)
    )  # fmt: skip
    seen = {}

    def run(shift):
        def hook(_, __, output):
            x = output[0] if isinstance(output, tuple) else output
            seen["x"] = x[0, -1].clone()
            x[:, -1] += shift

        handle = layer.register_forward_hook(hook)
        with torch.no_grad():
            logits = module(ids).logits[0, -1].float()
        handle.remove()
        return logits.softmax(-1)

    run(0.0)
    largest = float(sae.encode(seen["x"]).max())
    for place, feature in enumerate(chosen):
        d = sae.decoder[feature]
        with torch.no_grad():
            tokens = module.get_output_embeddings()(norm(d)).topk(5).indices
        p = run(2.0 * largest * d)
        order = p.argsort(descending=True).tolist()
        rank = min(order.index(int(token)) for token in tokens)
        expected = (1 - rank / len(p)) * float(p[tokens].max())
        assert float(found[place]) == pytest.approx(expected, abs=2e-3)


def test_features_at_words_are_the_largest_there(organism):
    sae = random_sae()
    prompt = Prompt("p", None, "What do you do by your values today?")
    found = active_at(organism, sae, prompt, " your values", top=5)
    ids = encode_prompt(organism.tokenizer, prompt)
    pieces = [organism.tokenizer.decode([one]) for one in ids]
    at = [n for n in range(len(ids)) if "".join(pieces[: n + 1]).endswith((" your", " values", " v", " val", " value"))]
    module = organism.model._module
    seen = {}
    handle = module.model.layers[3].register_forward_hook(lambda m, i, o: seen.update(x=o))
    with torch.no_grad():
        module(torch.tensor([ids]))
    handle.remove()
    f = sae.encode(seen["x"][0])
    text = "".join(pieces)
    start = text.index(" your values")
    ends = [len("".join(pieces[: n + 1])) for n in range(len(ids))]
    inside = [n for n in range(len(ids)) if ends[n] > start and ends[n] - len(pieces[n]) < start + len(" your values")]
    assert at
    expected = f[inside].amax(0).topk(5)
    assert [one for one, _ in found] == expected.indices.tolist()
    assert [size for _, size in found] == pytest.approx(expected.values.tolist(), rel=1e-3)
    assert SITE in organism.anatomy.block
    with pytest.raises(InvalidInputError, match="has no 'my values' in it"):
        active_at(organism, sae, prompt, "my values")
