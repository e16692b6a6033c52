"""Feature steering against plain hooks that encode and decode the whole of it, on every kind of autoencoder."""

import pytest
import torch

from nnvalue.errors import InvalidInputError, ModelError, UnknownNameError
from nnvalue.models import encode_prompt, generate_responses, next_token_logits
from nnvalue.prompts import Prompt
from nnvalue.sae import SparseAutoencoder
from nnvalue.steering import FeatureSteering, encoder_rows, feature_steering, load_steering, save_steering

WIDTH, COUNT = 32, 24
SITE = "model.layers.1.output"
CHOSEN = (3, 7, 20)


def autoencoder(architecture="standard", subtract=False, scale=1.0, seed=0):
    torch.manual_seed(seed)
    decoder = torch.nn.functional.normalize(torch.randn(COUNT, WIDTH), dim=-1)
    extra = {}
    if architecture in ("jumprelu", "batchtopk"):
        extra["threshold"] = torch.rand(COUNT) * 2
    if architecture == "topk":
        extra["k"] = 4
    if architecture == "gated":
        extra |= {"gate_bias": torch.randn(COUNT), "gate_scale": 0.3 * torch.randn(COUNT)}
    return SparseAutoencoder(
        architecture, decoder.T + 0.1 * torch.randn(WIDTH, COUNT), decoder, torch.randn(COUNT), torch.randn(WIDTH),
        subtract_bias=subtract, input_scale=scale, site=SITE, **extra,
    )  # fmt: skip


KINDS = [
    ("standard", False, 1.0), ("standard", True, 0.25), ("jumprelu", True, 1.0), ("jumprelu", False, 2.0),
    ("batchtopk", True, 0.5), ("gated", False, 1.0), ("gated", True, 0.5),
]  # fmt: skip


def prompts():
    return [Prompt(f"p{n}", None, " ".join(f"w{(5 * n + k) % 58}" for k in range(2 + n))) for n in range(4)]


@pytest.mark.parametrize(("architecture", "subtract", "scale"), KINDS)
def test_features_are_read_by_their_own_rows(architecture, subtract, scale):
    """A bias that is not folded in, a threshold that is moved with it, a gate in other units."""
    sae = autoencoder(architecture, subtract, scale)
    x = 3 * torch.randn(50, WIDTH)
    rows = encoder_rows(sae, CHOSEN)
    before = x @ rows["encoder"].T + rows["encoder_bias"]
    found = torch.relu(before) * (before > rows["threshold"])
    torch.testing.assert_close(found, sae.encode(x)[:, list(CHOSEN)], atol=1e-5, rtol=1e-5)
    assert (found > 0).any()
    assert (found == 0).any()


def moved(sae, x, mode, amounts, dose):
    """What an edit does, the long way: encode all, change some, decode all, and put the error back."""
    a = sae.encode(x)
    new = a.clone()
    for number, amount in zip(CHOSEN, amounts, strict=True):
        f = a[..., number]
        new[..., number] = {
            "clamp": (1 - min(dose, 1)) * f + dose * amount,
            "min_clamp": torch.clamp(f, min=dose * amount),
            "scale": (1 + dose * (amount - 1)) * f,
        }[mode]
    return sae.decode(new) + (x - sae.decode(a))


@pytest.mark.parametrize("dose", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("mode", ["clamp", "min_clamp", "scale", "add"])
def test_an_edit_is_that_of_plain_hooks(llama, mode, dose):
    """Clamping with the error kept is x + (a′ − a)·d, and where the scope is one position, only that one changes."""
    sae = autoencoder("jumprelu", True, 0.5)
    amounts = (0.0, -1.0, 2.5) if mode == "scale" else (2.0, 0.5, 4.0)
    steering = feature_steering(sae, CHOSEN, amounts, mode=mode, dose=dose)
    found = next_token_logits(llama, prompts(), steering=steering)
    directions = sae.decoder[list(CHOSEN)] / sae.input_scale

    def hook(module, inputs, output):
        x = output[:, -1]
        if mode == "add":
            output[:, -1] = x + dose * torch.tensor(amounts) @ directions
        else:
            output[:, -1] = moved(sae, x, mode, amounts, dose)
        return output

    module = llama.model._module
    handle = module.model.layers[1].register_forward_hook(hook)
    try:
        for place, prompt in enumerate(prompts()):
            ids = torch.tensor([encode_prompt(llama.tokenizer, prompt)])
            with torch.no_grad():
                expected = module(ids).logits[0, -1]
            torch.testing.assert_close(found[place], expected, atol=2e-3, rtol=1e-4)
    finally:
        handle.remove()
    plain = next_token_logits(llama, prompts())
    assert (found - plain).abs().max() > 0.01


def test_a_dose_of_nothing_changes_no_bit(llama):
    plain = generate_responses(llama, prompts(), max_new_tokens=6)
    for mode in ("add", "clamp", "min_clamp", "scale"):
        steering = feature_steering(autoencoder(), CHOSEN, (1.0, 2.0, 3.0), mode=mode).at(0)
        assert steering.edits(llama.anatomy) == []
        assert generate_responses(llama, prompts(), steering=steering, max_new_tokens=6) == plain
        assert torch.equal(next_token_logits(llama, prompts(), steering=steering), next_token_logits(llama, prompts()))


def test_rows_of_a_batch_have_edits_of_their_own(llama):
    """Doses and dictionaries side by side give what each gives alone."""
    one = feature_steering(autoencoder("jumprelu"), CHOSEN, (2.0, 0.5, 4.0), mode="clamp")
    other = feature_steering(autoencoder("jumprelu", seed=1), CHOSEN, (2.0, 0.5, 4.0), mode="clamp")
    arms = [one.at(0.5), None, other, one.at(2.0)]
    together = next_token_logits(llama, prompts(), steering=arms)
    for place, arm in enumerate(arms):
        alone = next_token_logits(llama, [prompts()[place]], steering=arm)
        torch.testing.assert_close(together[place], alone[0], atol=1e-3, rtol=1e-4)


def test_what_travels_is_what_is_used(llama):
    """The payload grows with the features and not with the dictionary."""
    from nnvalue.steering_protocol import edit_bytes

    small, large = (autoencoder("jumprelu"), None)
    torch.manual_seed(0)
    decoder = torch.randn(40 * COUNT, WIDTH)
    large = SparseAutoencoder(
        "jumprelu", decoder.T, decoder, torch.zeros(40 * COUNT), torch.zeros(WIDTH),
        threshold=torch.ones(40 * COUNT), site=SITE,
    )  # fmt: skip
    sizes = {
        (name, count): edit_bytes(feature_steering(sae, range(count), [1.0] * count, mode="clamp").edits(llama.anatomy))
        for name, sae in (("small", small), ("large", large))
        for count in (1, 10)
    }
    assert sizes["small", 1] == sizes["large", 1]
    assert sizes["small", 10] == sizes["large", 10]
    assert 9 < sizes["large", 10] / sizes["large", 1] < 11


@pytest.mark.parametrize("mode", ["add", "clamp", "min_clamp", "scale"])
def test_a_saved_steering_is_the_same(mode, llama, tmp_path):
    steering = feature_steering(
        autoencoder("gated", True), CHOSEN, (1.0, 2.0, 0.5), mode=mode, dose=0.75, scope="all", about={"value": "power"}
    )  # fmt: skip
    save_steering(steering, tmp_path / "s")
    found = load_steering(tmp_path / "s")
    assert isinstance(found, FeatureSteering)
    assert found.describe() == steering.describe()
    torch.testing.assert_close(
        next_token_logits(llama, prompts(), steering=found), next_token_logits(llama, prompts(), steering=steering)
    )  # fmt: skip


def test_what_cannot_be_is_refused(llama, subjects):
    sae = autoencoder()
    for given, error, said in (
        ({"features": [COUNT], "amounts": [1.0]}, InvalidInputError, "no feature 24; this SAE has 0 to 23"),
        ({"features": [1, 2], "amounts": [1.0]}, InvalidInputError, "2 features and 1 amounts"),
        ({"features": [1, 1], "amounts": [1.0, 1.0]}, InvalidInputError, "each of them once"),
        ({"features": [], "amounts": []}, InvalidInputError, "needs features"),
        ({"features": [1], "amounts": [float("nan")]}, InvalidInputError, "without NaN"),
        ({"features": [1], "amounts": [1.0], "mode": "clam"}, UnknownNameError, "did you mean clamp"),
        ({"features": [1], "amounts": [1.0], "mode": "clamp", "dose": -1}, InvalidInputError, "no dose below 0"),
    ):
        with pytest.raises(error, match=said):
            feature_steering(sae, **given)
    with pytest.raises(InvalidInputError, match="'topk' a feature's activation depends on all others"):
        feature_steering(autoencoder("topk"), [1], [1.0], mode="clamp")
    assert feature_steering(autoencoder("topk"), [1], [1.0]).mode == "add"
    nowhere = SparseAutoencoder("standard", sae.encoder, sae.decoder, sae.encoder_bias, sae.decoder_bias)
    with pytest.raises(InvalidInputError, match="does not say where it reads"):
        feature_steering(nowhere, [1], [1.0])
    with pytest.raises(ModelError, match="no such place"):
        feature_steering(nowhere, [1], [1.0], site="model.layers.99.output").edits(llama.anatomy)
    wide = torch.randn(COUNT, WIDTH + 1)
    other = SparseAutoencoder("standard", wide.T, wide, sae.encoder_bias, torch.zeros(WIDTH + 1), site=SITE)
    with pytest.raises(ModelError, match="33 entries, and this model's residual stream has 32"):
        feature_steering(other, [1], [1.0]).edits(llama.anatomy)


def test_words_are_edited_at_and_nothing_else(llama):
    """The paper's protocol: a decoder row at the tokens of some words, in the pass over the prompt only."""
    sae = autoencoder()
    asked = [Prompt(f"p{n}", None, f"{'w1 ' * n}w30 w31 w9 w8") for n in range(3)]
    steering = feature_steering(sae, [4], [9.0], scope={"text": "w30 w31"})
    seen, direction = {}, sae.decoder[4] * 9.0
    found = next_token_logits(llama, asked, steering=steering)
    module = llama.model._module
    for place, prompt in enumerate(asked):
        ids = encode_prompt(llama.tokenizer, prompt)
        first = llama.tokenizer.convert_tokens_to_ids("w30")
        at = ids.index(first)

        def hook(module, inputs, output, at=at):
            output[:, at : at + 2] += direction
            seen["x"] = output
            return output

        handle = module.model.layers[1].register_forward_hook(hook)
        with torch.no_grad():
            expected = module(torch.tensor([ids])).logits[0, -1]
        handle.remove()
        torch.testing.assert_close(found[place], expected, atol=2e-3, rtol=1e-4)
    said = generate_responses(llama, asked, steering=steering, max_new_tokens=3)
    assert [one.token_ids[0] for one in said] == found.argmax(-1).tolist()
    with pytest.raises(InvalidInputError, match="'p0' has no 'w50' in it"):
        next_token_logits(llama, asked, steering=feature_steering(sae, [4], [9.0], scope={"text": "w50"}))
    with pytest.raises(InvalidInputError, match="A scope by words is"):
        feature_steering(sae, [4], [9.0], scope={"texts": "w50"})
