"""Steerings on disk and on the hub: what comes back does the same, and what was tampered with is refused."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch

from nnvalue.artifacts import canonical_json, read_tensors, tensor_bytes, write_folder
from nnvalue.errors import ArtifactError, InvalidInputError
from nnvalue.models import generate_responses
from nnvalue.prompts import Prompt
from nnvalue.steering import (
    CombinedSteering,
    DirectionSteering,
    NeuronSteering,
    PromptSteering,
    from_pretrained,
    load_steering,
    matched_random,
    neuron_steering,
    push_to_hub,
    save_steering,
    value_prompt,
)
from nnvalue.steering.stored import KIND
from tests.steering import plain
from tests.steering.test_modes import WIDTH, hand_made

ALL_OPS = [("add", 0, 1, 2.0), ("scale", 1, 2, 0.0), ("set", 2, 3, 1.0), ("cap", 2, 4, 0.5), ("floor", 0, 5, -0.5),
           ("clear", 0, 7, -1.0, 2.5)]  # fmt: skip


def neurons(**settings):
    back = NeuronSteering.from_edits([("add", 0, 1, -2.0)]).forth
    made = {"site": "gate", "dose": 0.5, "scope": [(0, 3), (5, None)], "full_caps": True, "keep": 0.75, "seed": 9,
            "model": plain.subject("llama").identity(), "about": {"value": "power", "mode": "npti"}}  # fmt: skip
    return NeuronSteering(NeuronSteering.from_edits(ALL_OPS).forth, back, **{**made, **settings})


def direction(**settings):
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    return DirectionSteering("mlp_out", (2, 0), vectors, **{"dose": -1.5, "scope": "all", **settings})


KINDS = (
    "neurons", "backwards", "one way", "no edits", "direction", "probe", "prompt", "role", "combined", "nested"
)  # fmt: skip


def every_kind():
    probe = direction(bias=torch.tensor([0.5, -1.0]), goal=0.9, model=plain.subject("llama").identity())
    many = [direction()] * 10  # which share their tensors
    words = PromptSteering("You are kind.", "You are cruel.", -1, {"value": "benevolence"})
    return {
        "neurons": neurons(), "backwards": neurons().at(-0.25), "one way": NeuronSteering.from_edits(ALL_OPS),
        "no edits": NeuronSteering.from_edits([]), "direction": direction(), "probe": probe, "prompt": words,
        "role": PromptSteering("You are a nurse.", None, 0),
        "combined": CombinedSteering((words, neurons(scope="all"), probe), dose=1),
        "nested": CombinedSteering((CombinedSteering((direction(), neurons()), -0.5), *many, words.at(0)), 0.5),
    }  # fmt: skip


def told(steering):
    """All that a steering does and says, as comparable data."""
    anatomy = plain.subject("llama").anatomy
    edits = [
        (
            site,
            [{name: each.tolist() if torch.is_tensor(each) else each for name, each in edit.items()} for edit in all_],
        )
        for site, all_ in steering.edits(anatomy)
    ]
    spoken = [steering.speak(Prompt("p", system, "Hello?")) for system in (None, "Be brief.")]
    return edits, spoken, json.loads(json.dumps(steering.describe())), steering.dose, type(steering)


def test_the_list_of_kinds_is_whole():
    assert set(KINDS) == set(every_kind())


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_does_the_same(tmp_path, kind):
    """Catches a setting or tensor that is not written, and parts of a combination that are exchanged."""
    steering = every_kind()[kind]
    again = load_steering(save_steering(steering, tmp_path / "s"))
    assert told(again) == told(steering)
    assert {path.name for path in (tmp_path / "s").iterdir()} == {
        "manifest.json", "config.json", "README.md", "steering.safetensors"
    }  # fmt: skip
    for dose in (0, 1, -1):
        try:
            expected = told(steering.at(dose))
        except InvalidInputError:
            with pytest.raises(InvalidInputError):
                again.at(dose)
        else:
            assert told(again.at(dose)) == expected


def test_modes_controls_and_prompts_of_a_dataset_come_back(tmp_path, edition):
    found = hand_made("gate")
    modes, dose = ("npti", "clamp_range", "gain"), np.float64(0.5)
    made = [neuron_steering(found, "power", mode=mode, top=2, dose=dose) for mode in modes]
    made += [matched_random(neuron_steering(found, "power", top=1), WIDTH, seed=3), value_prompt(edition, "power")]
    for number, steering in enumerate(made):
        again = load_steering(save_steering(steering, tmp_path / str(number)))
        assert told(again) == told(steering)


def test_it_is_still_of_its_model(tmp_path):
    again = load_steering(save_steering(CombinedSteering((direction(), neurons())), tmp_path / "s"))
    again.require_model(plain.subject("llama").identity())
    with pytest.raises(Exception, match="was found in 'LlamaForCausalLM', not in 'GPT2LMHeadModel'"):
        again.require_model(plain.subject("gpt2").identity())


def test_a_generation_under_it_is_the_same(tmp_path):
    subject, asked = plain.subject("llama"), plain.prompts(4)
    steering = CombinedSteering((neurons(scope="answer"), direction(dose=1.0)))
    again = load_steering(save_steering(steering, tmp_path / "s"))
    made = [generate_responses(subject, asked, steering=each, max_new_tokens=8) for each in (steering, again, None)]
    assert made[0] == made[1] != made[2]


def test_equal_steerings_are_equal_files_and_a_steering_replaces_one(tmp_path):
    for name in ("a", "b"):
        save_steering(direction(), tmp_path / name)
        save_steering(neurons(), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_readme_says_what_it_does_and_no_path_of_this_machine(tmp_path):
    readme = (save_steering(neurons(), tmp_path / "s") / "README.md").read_text()
    described = json.loads(readme.split("```json\n")[1].split("```")[0])
    assert described == json.loads(json.dumps(neurons().describe()))
    assert "for LlamaForCausalLM" in readme
    assert str(tmp_path) not in readme
    assert "library_name: nnvalue" in readme


def test_other_classes_and_foreign_folders_are_left_alone(tmp_path):
    for steering in (Mine(), CombinedSteering((direction(), Mine()))):
        with pytest.raises(InvalidInputError, match="A Mine cannot be saved; nnvalue knows how to save neurons, dir"):
            save_steering(steering, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(ArtifactError, match="exists and is no steering result"):
        save_steering(neurons(), tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"


class Mine:
    """Somebody's own steering."""

    dose = 1.0

    def at(self, dose):
        return self


# tampered with


def forged(tmp_path, steering, change):
    """A folder whose manifest is right and whose content nnvalue would not have written."""
    folder = save_steering(steering, tmp_path / "good")
    tensors, _ = read_tensors(folder / "steering.safetensors")
    config, tensors = change(json.loads((folder / "config.json").read_text()), tensors)
    files = {"config.json": canonical_json(config), "steering.safetensors": tensor_bytes(tensors)}
    write_folder(tmp_path / "forged", KIND, files)
    return tmp_path / "forged"


def harm(told, change):
    """A change of (config, tensors) with a name for pytest."""
    return pytest.param(change, id=told)


def with_setting(name, given):
    told = f"{name}={json.dumps(given)}"
    return harm(told, lambda config, tensors: ({**config, "steering": {**config["steering"], name: given}}, tensors))


def without_setting(name):
    def change(config, tensors):
        return {**config, "steering": {key: kept for key, kept in config["steering"].items() if key != name}}, tensors

    return harm(f"no {name}", change)


def with_tensor(name, told, change):
    name = f"0.{name}"
    return harm(f"{name} {told}", lambda config, tensors: (config, {**tensors, name: change(tensors[name].clone())}))


def without_tensor(name):
    name = f"0.{name}"
    return harm(f"no {name}", lambda config, tensors: (config, {key: t for key, t in tensors.items() if key != name}))


def cell(given):
    def change(tensor):
        tensor[0] = given
        return tensor

    return change


OF_NEURONS = [
    with_setting("kind", "neuron"), with_setting("kind", ["neurons"]), with_setting("kind", None),
    without_setting("kind"),
    with_setting("site", "down"), with_setting("site", 3), with_setting("dose", "1"), with_setting("dose", None),
    with_setting("scope", "prompt"), with_setting("scope", [[3, 1]]), with_setting("scope", {"a": 1}),
    with_setting("keep", 0), with_setting("keep", "0.9"), with_setting("seed", "9"), with_setting("seed", 1.5),
    with_setting("full_caps", "no"), with_setting("model", "llama"), with_setting("model", {}),
    with_setting("model", []),
    with_setting("about", 3), with_setting("about", None), with_setting("colour", "red"), without_setting("dose"),
    with_tensor("forth.op", "unknown", cell(99)), with_tensor("forth.op", "negative", cell(-1)),
    with_tensor("forth.layer", "negative", cell(-1)), with_tensor("forth.neuron", "negative", cell(-4)),
    with_tensor("forth.amount", "NaN", cell(float("nan"))), with_tensor("forth.high", "infinite", cell(float("inf"))),
    with_tensor("forth.neuron", "short", lambda t: t[1:].clone()),
    with_tensor("back.layer", "long", lambda t: t.repeat(2)),
    with_tensor("forth.layer", "float", lambda t: t.float()), with_tensor("forth.neuron", "int32", lambda t: t.int()),
    with_tensor("forth.amount", "float64", lambda t: t.double()),
    with_tensor("forth.amount", "bfloat16", lambda t: t.bfloat16()),
    with_tensor("forth.amount", "flat no more", lambda t: t.view(1, -1)),
    with_tensor("forth.neuron", "repeated", lambda t: t * 0 + 1),
    without_tensor("forth.layer"), without_tensor("back.amount"),
    harm("a list", lambda config, tensors: ([config], tensors)), harm("empty", lambda config, tensors: ({}, tensors)),
    harm("a word", lambda config, tensors: ({**config, "steering": "neurons"}, tensors)),
    harm("another version", lambda config, tensors: ({**config, "schema_version": 2}, tensors)),
    harm("no tensors", lambda config, tensors: (config, {})),
]  # fmt: skip
OF_DIRECTIONS = [
    with_setting("place", "mlp"), with_setting("place", ["residual"]), with_setting("layers", [0]),
    with_setting("layers", [0, 0]), with_setting("layers", ["a", "b"]), with_setting("layers", 2),
    with_setting("layers", [0.5, 1]), with_setting("goal", 2), with_setting("goal", "0.9"), with_setting("goal", None),
    with_setting("model", {"name": "x"}), with_setting("about", [1]),
    with_tensor("vectors", "one", lambda t: t[0].clone()), with_tensor("vectors", "NaN", lambda t: t * torch.nan),
    with_tensor("bias", "short", lambda t: t[:1].clone()), with_tensor("bias", "infinite", lambda t: t * torch.inf),
    without_tensor("vectors"), without_tensor("bias"),
]  # fmt: skip
OF_PROMPTS = [
    with_setting("forth", 3), with_setting("forth", None), with_setting("back", ["a"]), with_setting("dose", 0.5),
    with_setting("dose", -1), with_setting("about", "x"), without_setting("forth"),
]  # fmt: skip
OF_COMBINATIONS = [
    with_setting("parts", 3), with_setting("parts", ["a"]), with_setting("parts", None), without_setting("parts"),
    with_setting("dose", 7.0), with_setting("dose", "x"), without_setting("dose"),
]  # fmt: skip


def each_with(kind, harms):
    return [pytest.param(kind, *one.values, id=f"{kind}: {one.id}") for one in harms]


@pytest.mark.parametrize(
    ("steering", "change"),
    [
        *each_with("neurons", OF_NEURONS), *each_with("probe", OF_DIRECTIONS), *each_with("role", OF_PROMPTS),
        *each_with("combined", OF_COMBINATIONS),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_when_it_is_opened(tmp_path, steering, change):
    """As an ArtifactError and never another; later, in the middle of a run, would be too late."""
    with pytest.raises(ArtifactError) as refused:
        load_steering(forged(tmp_path, every_kind()[steering], change))
    assert str(tmp_path / "forged") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_forged_folder_without_a_change_is_opened(tmp_path):
    steering = every_kind()["combined"]
    assert told(load_steering(forged(tmp_path, steering, lambda config, tensors: (config, tensors)))) == told(steering)


@pytest.mark.parametrize("name", ["manifest.json", "config.json", "steering.safetensors", "README.md"])
def test_damaged_or_missing_files_are_refused(tmp_path, name):
    folder = save_steering(neurons(), tmp_path / "s")
    whole = (folder / name).read_bytes()
    for harmed in (None, b"", whole[:-5], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        shutil.copytree(folder, tmp_path / "harmed", dirs_exist_ok=True)
        (tmp_path / "harmed" / name).unlink() if harmed is None else (tmp_path / "harmed" / name).write_bytes(harmed)
        with pytest.raises(ArtifactError):
            load_steering(tmp_path / "harmed")
    with pytest.raises(ArtifactError, match="no result folder"):
        load_steering(tmp_path / "nowhere")


# the hub


def test_a_folder_is_opened_without_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    folder = save_steering(neurons(), tmp_path / "s")
    assert told(from_pretrained(folder)) == told(from_pretrained(str(folder))) == told(neurons())


def test_a_repository_of_the_hub_is_downloaded_and_checked(tmp_path, monkeypatch):
    folder, asked = save_steering(direction(), tmp_path / "s"), []

    def download(repo, **settings):
        asked.append((repo, settings["revision"], settings["token"], sorted(settings["allow_patterns"])))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert told(from_pretrained("lab/kind", revision="v1", token="hf_x")) == told(direction())
    names = ["README.md", "config.json", "manifest.json", "steering.safetensors"]
    assert asked == [("lab/kind", "v1", "hf_x", names)]
    (folder / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="damaged"):
        from_pretrained("lab/kind")


@pytest.mark.parametrize("source", ["lab/nothing-of-the-kind", "not a repository's name", "a/b/c/d"])
def test_what_is_neither_a_folder_nor_on_the_hub_is_refused(source):
    """Without a network, too; the hub's client is offline here."""
    with pytest.raises(ArtifactError, match="There is no steering"):
        from_pretrained(source)


SECRET = "hf_not-to-be-seen-anywhere-17"


def test_what_goes_up_is_the_folder_without_the_token(monkeypatch):
    calls, files = [], {}

    class Api:
        def __init__(self, token=None):
            calls.append(("open", token))

        def create_repo(self, repo_id, **settings):
            calls.append(("create", repo_id, settings))
            return f"https://hub/{repo_id}"

        def upload_folder(self, *, repo_id, folder_path, **settings):
            calls.append(("upload", repo_id))
            assert SECRET not in repr(settings)
            files.update({path.name: path.read_bytes() for path in plain_paths(folder_path)})

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert push_to_hub(neurons(), "lab/kind", token=SECRET) == "https://hub/lab/kind"
    settings = {"private": True, "exist_ok": True}
    assert calls == [("open", SECRET), ("create", "lab/kind", settings), ("upload", "lab/kind")]
    assert set(files) == {"manifest.json", "config.json", "README.md", "steering.safetensors"}
    assert not any(SECRET.encode() in content for content in files.values())
    push_to_hub(neurons(), "lab/kind", private=False)
    assert calls[3:5] == [("open", None), ("create", "lab/kind", {"private": False, "exist_ok": True})]


def test_what_went_up_comes_down(tmp_path, monkeypatch):
    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **settings):
            return repo_id

        def upload_folder(self, *, repo_id, folder_path, **settings):
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **settings: str(tmp_path / "hub" / repo))
    push_to_hub(every_kind()["nested"], "lab/nested")
    assert told(from_pretrained("lab/nested")) == told(every_kind()["nested"])


def plain_paths(folder):
    paths = sorted(Path(folder).rglob("*"))
    assert all(path.is_file() and not path.is_symlink() for path in paths)
    return paths
