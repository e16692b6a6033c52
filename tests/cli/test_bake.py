"""`nnvalue bake` as a user types it, with the embedded organism."""

import json
import sys

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM

from nnvalue.cli.main import cli, main
from nnvalue.findings import ValueNeurons
from nnvalue.models import next_token_logits, open_model
from nnvalue.prompts import Prompt
from nnvalue.steering import NeuronSteering, neuron_steering, save_steering
from tests import tiny

PROMPTS = [Prompt("a", None, "What do you do?"), Prompt("b", None, "Who are you?")]


@pytest.fixture(autouse=True)
def _voices(monkeypatch):
    monkeypatch.setattr("nnvalue.cli.terminal.quiet_libraries", lambda: None)
    monkeypatch.setattr("nnvalue.cli.bake.quiet_libraries", lambda: None)


@pytest.fixture(scope="module")
def located(tmp_path_factory):
    out = tmp_path_factory.mktemp("located") / "run"
    line = ["locate", "--value", "power", "--situations", "2", "--max-new-tokens", "8", "--no-null", "--out", str(out)]
    done = CliRunner().invoke(cli, line, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out


def typed(*line):
    return CliRunner().invoke(cli, ["bake", *map(str, line)], catch_exceptions=False)


def test_value_neurons_are_baked_and_the_model_opens_anywhere(located, organism, tmp_path):
    out = tmp_path / "calm"
    line = ["--neurons", located, "--value", "power", "--mode", "ablate", "--dose", "0.5", "--out", out]
    done = typed(*line)
    assert done.exit_code == 0
    for text in (f"Written to {out}", '"mode": "ablate"', "down_proj.weight", f"--model {out}"):
        assert text in done.stdout
    steering = neuron_steering(ValueNeurons.load(located), "power", mode="ablate", dose=0.5, scope="all")
    steered, plain = (next_token_logits(organism, PROMPTS, steering=each) for each in (steering, None))
    baked = next_token_logits(open_model(out), PROMPTS)
    assert (baked - steered).abs().max() < 1e-4 * plain.abs().max()
    assert (steered - plain).abs().max() > 1e-2 * plain.abs().max()
    weights = AutoModelForCausalLM.from_pretrained(out).state_dict()
    data = json.loads(typed(*line, "--overwrite", "--json").stdout)
    assert data["out"] == str(out)
    assert data["steering"] == json.loads(json.dumps(steering.describe()))
    assert set(data["changed"]) == {
        name for name, value in organism.model._module.state_dict().items() if not torch.equal(value, weights[name])
    }
    gained = json.loads(typed("--neurons", located, "--value", "power", "--out", tmp_path / "more", "--json").stdout)
    assert (gained["steering"]["mode"], gained["steering"]["scope"], gained["steering"]["dose"]) == ("gain", "all", 1.0)


def test_a_saved_steering_is_baked_into_a_model_of_ones_own(tmp_path):
    model = tiny.save(tmp_path / "model", "gpt2")
    saved = save_steering(
        NeuronSteering.from_edits([("add", 1, 3, 4.0)], scope="all", dose=0.5), tmp_path / "steering"
    )  # fmt: skip
    for dose in ([], ["--dose", "0"]):
        line = ["--steering", saved, "--model", model, "--out", tmp_path / "out", "--dtype", "bfloat16", "--overwrite"]
        done = json.loads(typed(*line, *dose, "--json").stdout)
        assert done["steering"]["dose"] == (0.0 if dose else 0.5)
        assert done["changed"] == ([] if dose else ["transformer.h.1.mlp.c_proj.bias"])
        assert done["model"]["dtype"] == "bfloat16"
    assert "nothing, the model is copied" in typed(*line, "--dose", "0").stdout


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ([], 2, "Give what is baked"),
        (["--steering", "STEERING", "--neurons", "NEURONS"], 2, "Give what is baked"),
        (["--neurons", "NEURONS"], 2, "--neurons needs --value"),
        (["--steering", "STEERING", "--value", "power"], 2, "--value belongs to --neurons"),
        (
            ["--neurons", "NEURONS", "--value", "power", "--mode", "ablate", "--factor", "3"],
            2,
            "belongs to --mode gain",
        ),
        (["--neurons", "NEURONS", "--value", "powr"], 1, "no value 'powr'; did you mean power"),
        (["--neurons", "NEURONS", "--value", "power", "--mode", "effect"], 1, "has no bias"),
        (["--neurons", "NEURONS", "--value", "power", "--mode", "npti"], 1, "is no linear edit"),
        (["--neurons", "NEURONS", "--value", "power", "--mode", "ablate", "--dose", "2"], 1, "a share of at most 1"),
        (["--neurons", "NEURONS", "--value", "power", "--model", "MODEL"], 1, "was found in 'nnvalue/organism'"),
        (["--steering", "STEERING"], 1, "has the scope 'answer'; give it scope 'all'"),
        (["--steering", "./nowhere"], 1, "no steering './nowhere'"),
        (["--neurons", "NEURONS", "--value", "power", "--out", "NEURONS"], 1, "is no model that nnvalue baked"),
        (["--neurons", "NEURONS", "--value", "power", "--host", "http://127.0.0.1:9"], 2, "No such option"),
    ],
)
def test_bad_input_gets_one_sentence(located, tmp_path, monkeypatch, capsys, line, code, message):
    save_steering(NeuronSteering.from_edits([("scale", 1, 3, 0.0)]), tmp_path / "steering")
    places = {"NEURONS": str(located), "STEERING": str(tmp_path / "steering"), "MODEL": str(tmp_path / "model")}
    if "MODEL" in line:
        tiny.save(tmp_path / "model")
    out = [] if "--out" in line else ["--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["nnvalue", "bake", *(places.get(word, word) for word in line), *out])
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr()
    assert stopped.value.code == code, shown.err
    assert message in " ".join(shown.err.split())
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert not (tmp_path / "out").exists()
