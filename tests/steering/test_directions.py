"""Directions against what plain transformers with hooks give, and formulas by hand."""

import io
import shutil

import nnsight
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from nnvalue.artifacts import canonical_json, tensor_bytes, write_folder
from nnvalue.errors import ArtifactError, InvalidInputError, ModelError, UnknownNameError
from nnvalue.findings import ValueNeurons, build_table
from nnvalue.locator.probes import Probe, ridge_logistic
from nnvalue.models import generate_responses
from nnvalue.models.decoding import next_token_logits
from nnvalue.steering import (
    DirectionSteering,
    ValueDirections,
    direction_steering,
    learn_directions,
    split_directions,
)
from nnvalue.steering.directions import KIND, PLACES
from nnvalue.traces import apply_edits, read_activation
from tests import tiny
from tests.steering import plain

HIDDEN = 32
VALUES = ("power", "achievement", "self_enhancement")  # the last one pools the two others


def rows(seed=0):
    """Responses of random tokens: of two values and both poles, one that was not read on, and some for A/A alone."""
    random = np.random.default_rng(seed)

    def tokens(low, high, first=6):
        return random.integers(first, 64, random.integers(low, high)).tolist()

    made = [
        {"value": value, "pole": pole, "fold": n % 4, "null": False, "prompt_ids": tokens(2, 6),
         # the poles draw from overlapping words, so that a probe can tell most of them apart
         "token_ids": tokens(2, 9, 6 if pole == "positive" else 26 + 6 * (n % 3))}
        for value in VALUES[:2] for pole in ("positive", "negative") for n in range(12)
    ]  # fmt: skip
    made[3]["token_ids"] = [1]
    made += [{**row, "null": True, "token_ids": tokens(4, 9)} for row in made[::5]]
    return [{**row, "text": ""} for row in made]


def found_in(subject, table):
    """A result that holds responses and no neurons."""
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), buffer)
    shape = (len(VALUES), tiny.LAYERS, tiny.WIDTH)
    maps = {name: np.zeros(shape, np.float32) for name in ("score", "firing_positive", "firing_negative")}
    config = {
        "model": subject.identity(), "dataset": {"name": "by hand"}, "settings": {"responses": "model"},
        "counts": {"power": {}, "achievement": {}, "self_enhancement": {"members": list(VALUES[:2])}},
    }  # fmt: skip
    return ValueNeurons(VALUES, build_table([]), maps, config, buffer.getvalue())


def captured(family, subject, place, table):
    """What stands at the fed tokens of every response, `[token, layer, hidden]`, one by one through plain hooks."""
    made = plain.model(family)
    seen = []
    for path in getattr(subject.anatomy, PLACES[place]):
        made.get_submodule(path.rpartition(".")[0]).register_forward_hook(
            lambda _m, _i, out: seen.append((out[0] if isinstance(out, tuple) else out).reshape(-1, HIDDEN))
        )
    each = []
    for row in table:
        seen.clear()
        fed = row["token_ids"][:-1]
        with torch.no_grad():
            made(torch.tensor([row["prompt_ids"] + fed]))
        each.append(torch.stack(seen, dim=1).double()[len(row["prompt_ids"]) :])
    return each


@pytest.mark.parametrize("place", ["residual", "mlp_out"])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "opt"])
def test_differences_and_norms_equal_those_of_plain_hooks(family, place, monkeypatch):
    """Catches prompt tokens, A/A responses, empty ones or padding in a mean, and poles the wrong way round."""
    nothing = Probe(torch.zeros(HIDDEN).double(), 0.0, torch.zeros(HIDDEN).double())  # a fit is slow and not the matter
    monkeypatch.setattr("nnvalue.steering.directions.ridge_logistic", lambda features, signs: nothing)
    subject, table = plain.subject(family), rows()
    names = ("self_enhancement", "power")
    learned = learn_directions(subject, found_in(subject, table), names, place=place, batch_tokens=60)
    table = [row for row in table if not row["null"] and len(row["token_ids"]) > 1]
    each = captured(family, subject, place, table)
    for number, members in enumerate((VALUES[:2], VALUES[:1])):
        mean = {
            pole: torch.stack(
                [
                    a.mean(0)
                    for a, row in zip(each, table, strict=True)
                    if row["pole"] == pole and row["value"] in members
                ]
            ).mean(0)
            for pole in ("positive", "negative")
        }
        assert torch.allclose(learned.difference[number].double(), mean["positive"] - mean["negative"], atol=1e-4)
    norm = torch.cat(each).square().sum(-1).mean(0).sqrt()
    assert torch.allclose(learned.norm.double(), norm, rtol=1e-5)
    assert learned.place == place
    assert learned.config["source"] == "model"


def newton(features, signs):
    """Weights and bias that minimise Σ log(1 + exp(−sign (x·w + b))) + ½|w|² over standardised x; in units of a."""
    mean, sd = features.mean(0), features.std(0, correction=0)
    x = torch.cat(((features - mean) / sd, torch.ones(len(features), 1)), dim=1).double()
    ridge = torch.ones(x.shape[1]).double()
    ridge[-1] = 0
    w = torch.zeros(x.shape[1]).double()
    for _ in range(50):
        p = torch.sigmoid(-signs * (x @ w))
        gradient = -(x.T @ (signs * p)) + ridge * w
        curvature = (x.T * (p * (1 - p))) @ x + torch.diag(ridge)
        w = w - torch.linalg.solve(curvature, gradient)
    return w[:-1] / sd, w[-1] - (w[:-1] / sd) @ mean


def test_probes_and_their_accuracy_equal_newtons_method_on_what_hooks_see():
    subject, table = plain.subject("llama"), rows()
    learned = learn_directions(subject, found_in(subject, table), ["power"])
    table = [row for row in table if not row["null"] and len(row["token_ids"]) > 1 and row["value"] == "power"]
    means = torch.stack([each.mean(0) for each in captured("llama", subject, "residual", table)])
    signs = torch.tensor([1.0 if row["pole"] == "positive" else -1.0 for row in table]).double()
    even = torch.tensor([row["fold"] % 2 == 0 for row in table])
    for layer in range(tiny.LAYERS):
        weights, bias = newton(means[:, layer], signs)
        assert torch.allclose(learned.weights[0, layer].double(), weights, atol=1e-5 * float(weights.abs().max()))
        assert float(learned.bias[0, layer]) == pytest.approx(float(bias), abs=1e-4)
        weights, bias = newton(means[even, layer], signs[even])
        right = ((means[~even, layer] @ weights + bias > 0) == (signs[~even] > 0)).double().mean()
        assert float(learned.accuracy[0, layer]) == pytest.approx(float(right))
        assert 0.5 < right < 1  # neither trivial nor hopeless, so that a probe on its own texts would show


def test_a_probe_is_the_optimum_also_of_more_vectors_than_features():
    """A fit that stops early is off by a quarter here."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(600, 128, generator=random).double() @ torch.diag(torch.logspace(0, -2, 128).double())
    x = x + 0.3 * x[:, :1]
    signs = torch.where(x[:, 1] + 0.02 * torch.randn(600, generator=random) > 0, 1.0, -1.0).double()
    weights, bias = newton(x, signs)
    found = ridge_logistic(x, signs)
    assert torch.allclose(found.weights, weights, rtol=1e-6, atol=1e-8)
    assert found.bias == pytest.approx(float(bias))


def test_a_probe_of_few_alike_vectors_converges():
    """Where the loss is flat but for rounding, a search along the step refused it and the fit never ended (110)."""
    for seed in range(100, 120):
        random = torch.Generator().manual_seed(seed)
        signs = torch.tensor([1.0, -1.0]).repeat_interleave(8).repeat(2)
        x = torch.randn(32, 6, generator=random) @ torch.randn(6, 128, generator=random)
        x = x + 0.3 * torch.randn(32, 128, generator=random) + signs[:, None] * torch.randn(128, generator=random)
        found = ridge_logistic(x, signs)
        assert ((x.double() @ found.weights + found.bias > 0) == (signs > 0)).all()


def test_the_batches_do_not_matter():
    subject, found = plain.subject("llama"), found_in(plain.subject("llama"), rows())
    one, many = (learn_directions(subject, found, ["power"], batch_tokens=tokens) for tokens in (8192, 20))
    for name in ("difference", "norm", "weights", "bias", "accuracy"):
        assert torch.allclose(getattr(one, name), getattr(many, name), atol=1e-3), name


def test_what_cannot_be_learned_from_is_refused():
    subject, table = plain.subject("llama"), rows()
    with pytest.raises(ModelError, match="was found in 'LlamaForCausalLM', not in"):
        learn_directions(plain.subject("gpt2"), found_in(subject, table))
    with pytest.raises(UnknownNameError, match=r"no value 'powr'.*in this result"):
        learn_directions(subject, found_in(subject, table), ["powr"])
    with pytest.raises(UnknownNameError, match="no place of directions 'mlp'"):
        learn_directions(subject, found_in(subject, table), place="mlp")
    with pytest.raises(InvalidInputError, match="responses of 'power' are not of both poles"):
        learn_directions(subject, found_in(subject, [row for row in table if row["pole"] == "positive"]), ["power"])
    without = found_in(subject, table)
    with pytest.raises(ArtifactError, match="saved without its responses"):
        learn_directions(subject, ValueNeurons(without.values, without.columns, without.maps, without.config))


# steering along them


def by_hand(seed=0, place="residual", values=("power", "benevolence"), model=None, layers=tiny.LAYERS):
    random = torch.Generator().manual_seed(seed)

    def some(*shape):
        return torch.randn(shape, generator=random)

    k = len(values)
    return ValueDirections(
        place, values, some(k, layers, HIDDEN), torch.tensor([2.0, 3.0, 5.0][:layers]), some(k, layers, HIDDEN),
        some(k, layers), torch.tensor([[0.5, 0.95, 0.92], [0.6, 0.9, 0.3]])[:k, :layers],
        {"model": model or plain.subject("llama").identity(), "source": "model"},
    )  # fmt: skip


@pytest.mark.parametrize("place", ["residual", "mlp_out"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_adding_a_direction_equals_a_hook(family, place):
    """In two layers, in a left-padded batch whose rows have doses and scopes of their own."""
    subject, asked = plain.subject(family), plain.prompts(8)
    ids, mask = plain.batch(subject, asked)
    vectors = 4 * torch.randn(2, HIDDEN, generator=torch.Generator().manual_seed(2))
    doses = [1.0, -0.5, 0.0, 2.0, 1.0, -1.0, 0.5, 1.0]
    scopes = ["answer", "answer", "all", "all", "all", [(1, 2), (6, None)], [(1, 2), (6, None)], "decode"]
    arms = [DirectionSteering(place, (2, 0), vectors, None, None, *each) for each in zip(doses, scopes, strict=True)]
    made = plain.model(family)
    for layer, vector in zip((2, 0), vectors, strict=True):

        def added(x, position, vector=vector):
            for row, length in enumerate(mask.sum(1).tolist()):
                inside = torch.tensor([plain.in_scope(scopes[row], token, length) for token in position[row].tolist()])
                x[row, inside] += doses[row] * vector
            return x

        plain.hook(made, getattr(subject.anatomy, PLACES[place])[layer], mask, added)
    truth = plain.generate(made, ids, mask, 10)
    ours = generate_responses(subject, asked, steering=arms, max_new_tokens=10)
    assert [list(each.token_ids) for each in ours] == truth
    unsteered = [list(each.token_ids) for each in generate_responses(subject, asked, max_new_tokens=10)]
    assert truth[2] == unsteered[2]
    assert truth != unsteered


@pytest.mark.parametrize("place", ["residual", "mlp_out"])
@pytest.mark.parametrize("family", ["llama", "gemma2", "opt"])
def test_a_goal_is_met_exactly_where_it_was_not_and_nothing_else_is_moved(family, place):
    """By the probe's own odds at the prompt's last token, and by the logits that a hook gives."""
    subject, asked = plain.subject(family), plain.prompts(6)
    ids, mask = plain.batch(subject, asked)
    site = getattr(subject.anatomy, PLACES[place])[1]
    weights = torch.randn(HIDDEN, generator=torch.Generator().manual_seed(3)) / 8
    before, _ = odds_and_logits(subject, ids, mask, site, [], weights)
    bias = -before.median()  # half of the rows are above one half, so some are below the goal and some above
    goal = float(torch.sigmoid(before + bias).sort().values[3:5].mean())
    steering = DirectionSteering(place, (1,), weights.view(1, -1), bias.view(1), goal)
    after, logits = odds_and_logits(subject, ids, mask, site, steering.edits(subject.anatomy), weights)
    below = torch.sigmoid(before + bias) < goal
    assert 0 < below.sum() < 6
    assert torch.allclose(torch.sigmoid(after + bias)[below], torch.tensor(goal), atol=1e-5)
    assert torch.equal(after[~below], before[~below])

    def moved(x, position):
        """The smallest shift, along the weights, after which the probability is the goal."""
        z = x[:, -1] @ weights + bias
        missing = (torch.tensor(goal / (1 - goal)).log() - z).clamp(min=0)
        x[:, -1] += missing.unsqueeze(1) * weights / (weights @ weights)
        return x

    made = plain.model(family)
    plain.hook(made, site, mask, moved)
    with torch.no_grad():
        truth = made(ids, attention_mask=mask, position_ids=plain.positions(mask)).logits[:, -1]
    assert torch.allclose(logits, truth, atol=1e-4 * float(truth.std()))
    untouched = next_token_logits(subject, asked)
    assert torch.allclose(untouched[~below], next_token_logits(subject, asked, steering=steering)[~below], atol=0)
    assert not torch.isclose(untouched[below], truth[below]).all(1).any()


def odds_and_logits(subject, ids, mask, site, edits, weights):
    """weights · a at the last token after the edits, `[row]`, and the logits there."""
    model = subject.model
    with torch.no_grad(), model.trace(ids, attention_mask=mask, use_cache=False):
        apply_edits(model, edits, mask)
        odds = nnsight.save(read_activation(model, site).reshape(*ids.shape, -1)[:, -1] @ weights)
        logits = nnsight.save(model.output.logits[:, -1])
    return odds, logits


@pytest.mark.parametrize("dose", [0.5, -1.0, -0.25])
def test_a_dose_goes_its_share_of_the_way_to_the_goal_or_to_the_other_poles(dose):
    """Log-odds move by |d| of what is missing to logit(goal), or below 0 to −logit(goal)."""
    subject = plain.subject("llama")
    ids, mask = plain.batch(subject, plain.prompts(6))
    site, weights = subject.anatomy.block[1], torch.full((HIDDEN,), 0.05)
    before, _ = odds_and_logits(subject, ids, mask, site, [], weights)
    bias = -before.median()
    steering = DirectionSteering("residual", (1,), weights.view(1, -1), bias.view(1), goal=0.8, dose=dose)
    after, _ = odds_and_logits(subject, ids, mask, site, steering.edits(subject.anatomy), weights)
    sign = 1 if dose > 0 else -1
    missing = (np.log(4) - sign * (before + bias)).clamp(min=0)
    assert torch.allclose(after, before + sign * abs(dose) * missing, atol=1e-4)


def test_without_a_goal_a_dose_of_1_adds_the_length_that_stands_there():
    directions = by_hand()
    steering = direction_steering(directions, "benevolence")
    assert steering.layers == (1,)  # the middle one
    assert float(steering.vectors.norm()) == pytest.approx(3.0)
    cosine = torch.cosine_similarity(steering.vectors[0], directions.difference[1, 1], dim=0)
    assert float(cosine) == pytest.approx(1.0)
    away = direction_steering(directions, "benevolence", "negative", layers=[2, 0])
    assert away.vectors.norm(dim=1).tolist() == pytest.approx([5.0, 2.0])
    assert torch.cosine_similarity(away.vectors, directions.difference[1, [2, 0]]).tolist() == pytest.approx([-1, -1])
    assert steering.edits(plain.subject("llama").anatomy)[0][1][0]["add"].norm() == pytest.approx(3.0)
    assert direction_steering(directions, "power", layers=np.array([0, 2])).layers == (0, 2)


def test_with_a_goal_the_probes_of_sure_layers_are_followed():
    directions = by_hand()
    steering = direction_steering(directions, "power", goal=0.99)
    assert steering.layers == (1, 2)  # those above .9
    assert torch.equal(steering.vectors, directions.weights[0, [1, 2]])
    assert torch.equal(steering.bias, directions.bias[0, [1, 2]])
    away = direction_steering(directions, "power", "negative", goal=0.99, layers=[0])
    assert torch.equal(away.vectors, -directions.weights[0, [0]])
    assert torch.equal(away.bias, -directions.bias[0, [0]])
    anatomy = plain.subject("llama").anatomy
    back, forth = (steering.edits(anatomy)[0][1][0] for steering in (
        direction_steering(directions, "power", goal=0.9, layers=[0], dose=-0.5),
        direction_steering(directions, "power", "negative", goal=0.9, layers=[0], dose=0.5),
    ))  # fmt: skip
    assert all(torch.equal(back[name], forth[name]) for name in ("probe", "bias", "logit", "reach"))


def test_layers_poles_and_goals_that_do_not_exist_are_refused():
    directions = by_hand()
    with pytest.raises(InvalidInputError, match=r"in more than 90% of the responses .*\(best 90%\); name layers"):
        direction_steering(directions, "benevolence", goal=0.9)
    with pytest.raises(InvalidInputError, match="no layer 3; the model has 3, counted from 0"):
        direction_steering(directions, "power", layers=[0, 3])
    with pytest.raises(UnknownNameError, match=r"no value 'powr'; did you mean power\? \(in these directions\)"):
        direction_steering(directions, "powr")
    with pytest.raises(UnknownNameError, match="no pole 'up'"):
        direction_steering(directions, "power", "up")
    shared, _, _ = split_directions(directions, by_hand(1))
    with pytest.raises(InvalidInputError, match="have no probe"):
        direction_steering(shared, "power", goal=0.9, layers=[1])


# what two kinds share


def test_what_is_alone_is_orthogonal_to_the_other_kind_and_what_is_shared_lies_between():
    a, b = by_hand(1), by_hand(2)
    shared, a_alone, b_alone = split_directions(a, b)
    for value in range(2):
        for layer in range(tiny.LAYERS):
            x, y = (each.difference[value, layer].double() for each in (a, b))
            s, x_alone, y_alone = (each.difference[value, layer].double() for each in (shared, a_alone, b_alone))
            assert float(x_alone @ y) == pytest.approx(0, abs=1e-4)
            assert float(y_alone @ x) == pytest.approx(0, abs=1e-4)
            assert torch.allclose(x - x_alone, y * float(x @ y / (y @ y)), atol=1e-5)
            assert torch.allclose(y - y_alone, x * float(x @ y / (x @ x)), atol=1e-5)
            plane = torch.stack((x, y), dim=1)
            assert torch.allclose(plane @ torch.linalg.lstsq(plane, s.unsqueeze(1)).solution, s.unsqueeze(1), atol=1e-5)
            assert float(s.norm()) == pytest.approx(float(x.norm() + y.norm()) / 2, rel=1e-5)
            assert float(s @ (x + y)) > 0
            # no other direction has more of both: (x·u)² + (y·u)² is the larger eigenvalue of their Gram matrix
            u, xx, yy, xy = s / s.norm(), x @ x, y @ y, x @ y
            largest = (xx + yy) / 2 + (((xx - yy) / 2) ** 2 + xy**2).sqrt()
            assert float((x @ u) ** 2 + (y @ u) ** 2) == pytest.approx(float(largest), rel=1e-5)
    sources = [each.config["source"] for each in (shared, a_alone, b_alone)]
    assert sources == ["shared", "intrinsic_alone", "prompted_alone"]
    assert torch.equal(shared.norm, b.norm)


def test_only_directions_of_one_place_and_model_are_split():
    a = by_hand(1)
    shared, _, _ = split_directions(a, by_hand(2, values=("tradition", "power")))
    assert shared.values == ("power",)
    for other in (by_hand(2, place="mlp_out"), by_hand(2, values=("tradition",)), by_hand(2, layers=2)):
        with pytest.raises(InvalidInputError, match="of one place and a common value"):
            split_directions(a, other)
    foreign = {**plain.subject("llama").identity(), "weights_sample_sha256": "0"}
    with pytest.raises(ModelError, match="weights_sample_sha256 differs"):
        split_directions(a, by_hand(2, model=foreign))


# on disk


def test_saved_directions_come_back_as_they_were(tmp_path):
    directions = by_hand()
    again = ValueDirections.load(directions.save(tmp_path / "d"))
    for name in ("difference", "norm", "weights", "bias", "accuracy"):
        assert torch.equal(getattr(again, name), getattr(directions, name))
    assert (again.place, again.values, again.config) == (directions.place, directions.values, directions.config)
    assert not any(path.suffix in (".pt", ".pkl", ".bin") for path in (tmp_path / "d").iterdir())


@pytest.mark.parametrize("name", ["config.json", "directions.safetensors", "manifest.json"])
def test_damaged_or_missing_files_are_refused(tmp_path, name):
    folder = by_hand().save(tmp_path / "d")
    for harm in (lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-9]),
                 lambda path: path.write_bytes(path.read_bytes().replace(b"power", b"powre")
                                               if name == "config.json" else b"{}")):  # fmt: skip
        shutil.copytree(folder, tmp_path / "harmed", dirs_exist_ok=True)
        harm(tmp_path / "harmed" / name)
        with pytest.raises(ArtifactError):
            ValueDirections.load(tmp_path / "harmed")
    with pytest.raises(ArtifactError, match="no result folder"):
        ValueDirections.load(tmp_path / "nowhere")


def config_with(**changes):
    return lambda config, tensors: ({**config, **changes}, tensors)


def config_without(name):
    return lambda config, tensors: ({key: kept for key, kept in config.items() if key != name}, tensors)


def tensors_with(**changes):
    def harm(config, tensors):
        return config, {**tensors, **{name: change(tensors[name].clone()) for name, change in changes.items()}}

    return harm


@pytest.mark.parametrize(
    "harm",
    [
        config_with(place="block"), config_with(place=["residual"]), config_with(values=["power"]),
        config_with(values=["power", "power"]), config_with(values=3), config_with(schema_version=2),
        config_with(model="llama"), config_with(model={"name": "llama"}), config_without("model"),
        config_without("place"), config_without("values"),
        config_without("source"), lambda config, tensors: ([config], tensors),
        lambda config, tensors: (config, {name: t for name, t in tensors.items() if name != "norm"}),
        tensors_with(norm=lambda t: t[1:]), tensors_with(bias=lambda t: t * torch.nan),
        tensors_with(weights=lambda t: t.double()), tensors_with(difference=lambda t: t[0]),
        tensors_with(difference=lambda t: t[:, :, 1:]), tensors_with(accuracy=lambda t: t[:1]),
    ],
)  # fmt: skip
def test_contents_that_contradict_themselves_are_refused(tmp_path, harm):
    """The manifest is right: whoever wrote it meant to."""
    directions = by_hand()
    names = ("difference", "norm", "weights", "bias", "accuracy")
    config = {**directions.config, "place": "residual", "values": list(directions.values), "schema_version": 1}
    for number, change in enumerate((lambda config, tensors: (config, tensors), harm)):
        made, tensors = change(config, {name: getattr(directions, name) for name in names})
        files = {"config.json": canonical_json(made), "directions.safetensors": tensor_bytes(tensors)}
        write_folder(tmp_path / str(number), KIND, files)
    ValueDirections.load(tmp_path / "0")
    with pytest.raises(ArtifactError, match="contradict themselves"):
        ValueDirections.load(tmp_path / "1")
