"""What holds for every verb: one JSON object on stdout, examples that can be typed, tables that fit the terminal."""

import json
import re
import shlex

import click
import pytest

import nnvalue.dataset
from nnvalue.cli.inspect_kinds import KINDS, what_lies_in
from nnvalue.cli.main import cli
from nnvalue.findings import ValueNeurons
from nnvalue.organism import folder as organism_files
from nnvalue.steering import learn_directions
from tests.builder import scribe
from tests.causal.test_prediction import asked
from tests.cli.running import typed
from tests.dataset import foreign
from tests.llm.openai_double import Say, serving

DESIGN = """
values: [power, tradition]
poles: [positive]
situations: 4
others: 2
pairs: 1
random_sets: 1
held_out: 2
locate_situations: 4
arms:
  - {name: prompt, kind: prompt}
"""
# One cheap line for every verb, in an order in which each finds what it reads.
LINES = {
    "locate": "locate --value power --value tradition --situations 4 --max-new-tokens 16 --no-null --out neurons",
    "sae features": "sae features neurons --top 2 --out features",
    "sae inspect": "sae inspect",
    "sae train": "sae train neurons --out trained --steps 10 --features 32",
    "steer": "steer --neurons neurons --value power --save steering --max-new-tokens 4 'Who are you?'",
    "measure": "measure --pairs 1 --out profile",
    "evaluate": "evaluate --design design.yaml --out evaluation",
    "survey": "survey --roles 1 --pairs 1 --value power --out survey",
    "graph": "graph asked --method effects --resamples 5 --ways 2 --out graph",
    "structure": "structure asked --permutations 99",
    "side-effects": "side-effects asked --permutations 99 --ways 2",
    "inspect": "inspect neurons",
    "report": "report neurons asked -o page.html",
    "plot": "plot neurons --figure neurons --format svg",
    "bake": "bake --neurons neurons --value power --out baked",
    "data build": "data build --framework mine.yaml --out built --endpoint URL --llm scribe --situations 10 "
    "--descriptions 4",
    "data check": "data check moral_foundations",
    "data import": "data import theirs/dataset --layout personalitybench --out imported",
    "data show": "data show moral_foundations --number 2",
    "models": "models",
    "doctor": "doctor --offline",
    "completion": "completion bash",
}
SHOWN = ("neurons", "features", "profile", "evaluation", "survey", "graph", "steering", "trained", "baked")
NUMBER = re.compile(r"[+−-]?\d+(?:[.,]\d+)*(?:e-?\d+)?%?")


def leaves(command=cli, path=()):
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from leaves(command.get_command(context, name), (*path, name))
    else:
        yield " ".join(path), command


LEAVES = dict(leaves())


@pytest.fixture(scope="module")
def told(organism, edition, tmp_path_factory):
    """Every line of `LINES` typed with --json, in one folder: verb -> (status, stdout, stderr); and the folder."""
    folder = tmp_path_factory.mktemp("every")
    (folder / "design.yaml").write_text(DESIGN)
    (folder / "mine.yaml").write_text(scribe.FRAMEWORK)
    (folder / "theirs").mkdir()
    foreign.personalitybench(folder / "theirs")
    asked(roles=12).save(folder / "asked")
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(lambda body, _: Say(scribe.answer(scribe.said(body), 1))) as url,
    ):
        patch.chdir(folder)
        patch.delenv("OPENAI_API_KEY", raising=False)
        patch.setattr("nnvalue.models.open_model", lambda *_, **__: organism)  # opened once, as is the edition
        load = nnvalue.dataset.load_valueinsight
        patch.setattr("nnvalue.dataset.load_valueinsight", lambda name=None: edition if name is None else load(name))
        patch.setattr("transformers.utils.logging.set_verbosity_error", lambda: None)
        patch.setattr("transformers.utils.logging.disable_progress_bar", lambda: None)
        done = {
            verb: typed(*(url.url if word == "URL" else word for word in shlex.split(line)), "--json")
            for verb, line in LINES.items()
        }
    return done, folder


def test_every_verb_is_in_the_list():
    """A new verb without a line here is one whose --json nobody looked at."""
    assert set(LINES) == set(LEAVES)


@pytest.mark.parametrize("verb", LINES)
def test_json_is_one_object_and_nothing_else(told, verb):
    status, out, err = told[0][verb]
    assert status == 0, err
    assert out.count("\n") == 1
    found = json.loads(out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert isinstance(found, dict)
    assert "error" not in found
    assert found


@pytest.mark.parametrize(
    ("line", "status", "kind"),
    [
        ("locate --value powr", 1, "UnknownNameError"),
        ("inspect nowhere", 1, "ArtifactError"),
        ("locate --colour", 2, "NoSuchOption"),
        ("steer", 2, "UsageError"),
        ("find", 2, "UsageError"),
        ("models --host http://127.0.0.1:9 --allow-http", 3, "UnreachableError"),
        ("models --host http://ndif.example", 3, "InsecureHostError"),
    ],
)
def test_an_error_is_json_too_and_a_sentence_on_stderr(line, status, kind, tmp_path, monkeypatch):
    """A script reads stdout whatever happens, and a person reads the same on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nnvalue.models.server._FIRST_PATIENCE", 0.1)
    code, out, err = typed(*line.split(), "--json")
    assert code == status, err
    error = json.loads(out)["error"]
    assert (error["kind"], error["exit_status"]) == (kind, status)
    assert error["message"].split(".")[0] in err
    assert not error["message"].startswith("Error")
    code, out, again = typed(*line.split())
    assert (code, out) == (status, "")
    assert again == err


def test_json_behind_two_dashes_is_a_prompt():
    """--json as a word of the user's own asks for no JSON."""
    code, out, err = typed("steer", "--", "--json")
    assert (code, out) == (2, "")
    assert "Nothing steers" in err


def test_help_has_examples_that_can_be_typed():
    """Each is parsed by click as its verb parses it: an option that was renamed breaks its example."""
    for path in (*LEAVES, "data", "sae", ""):
        status, shown, err = typed(*path.split(), "--help")
        assert status == 0, err
        _, _, examples = shown.partition("Examples:\n")
        lines = [line.strip() for line in examples.splitlines() if line.strip()]
        assert lines, f"nnvalue {path} --help has no examples"
        for line in lines:
            program, *words = shlex.split(line.partition(" > ")[0])
            assert program == "nnvalue"
            if path:
                assert line.startswith(f"nnvalue {path}") or path == "bake", line
            parsed(words)


def parsed(words):
    """The context of a line of words, down to its last command, without running it."""
    context = cli.make_context("nnvalue", list(words))
    while isinstance(context.command, click.Group):
        name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    return context


@pytest.mark.parametrize(
    "line", [*(f"inspect {what}" for what in SHOWN), LINES["structure"], LINES["side-effects"], "models"]
)
def test_no_figure_is_lost_in_a_narrow_terminal(told, line, monkeypatch):
    """A cell that is cut, or a column that is left out, where there is not room for all of them side by side."""
    monkeypatch.chdir(told[1])
    status, wide, err = typed(*line.split(), columns=200)
    assert status == 0, err
    for columns in (60, 80):
        status, narrow, err = typed(*line.split(), columns=columns)
        assert status == 0, err
        lost = set(NUMBER.findall(wide)) - set(NUMBER.findall(narrow.replace("\n", " ")))
        assert not lost
        assert not re.search(r"\w…(\s|$)", narrow)  # rich's sign for a cell that it cut
        tables = [line for line in narrow.splitlines() if line.startswith(" ")]
        assert all(len(line) <= columns for line in tables)


@pytest.mark.parametrize("columns", [60, 100])
def test_figures_of_json_are_in_the_tables(told, columns, monkeypatch):
    """A column under another's head shows another figure; each is looked for in the form that its table has."""
    monkeypatch.chdir(told[1])

    def shown_and_data(what):
        return typed("inspect", what, columns=columns)[1].split(), json.loads(typed("inspect", what, "--json")[1])

    shown, data = shown_and_data("neurons")
    for value in data["values"].values():
        for row in (*value["top"]["positive"], *value["top"]["negative"]):
            forms = (f"{row['score']:+.3g}", f"{row['firing_positive']:.3f}", f"{row['q95']:.3f}", str(row["neuron"]))
            assert set(forms) <= set(shown)
    shown, data = shown_and_data("profile")
    for cell in data["voices"]["neutral"].values():
        assert f"{cell['score']:+.2f}" in shown
        assert all(f"{part:+.2f}" in shown for part in cell["parts"].values())
    shown, data = shown_and_data("survey")
    for value in data["values"].values():
        assert f"{value['mean']:+.2f}".replace("-", "−") in shown
        assert f"{value['sd']:.2f}" in shown
    shown, data = shown_and_data("graph")
    assert data["edges"]
    for edge in data["edges"]:
        forms = {f"{edge['edge_frequency']:.2f}", f"{edge['arrow_frequency']:.2f}", edge["cause"], edge["effect"]}
        assert forms <= set(shown)
    shown, data = shown_and_data("evaluation")
    for trend in data["trends"]:
        row = next(
            row for row in data["effects"]
            if all(row[key] == trend[key] for key in ("arm", "value", "pole")) and row["dose"] == trend["headline_dose"]
        )  # fmt: skip
        assert f"{row['movement']:+.2f}".replace("-", "−") in shown


def test_inspect_shows_every_kind(told, organism, monkeypatch):
    """A kind whose results can be written but not looked at again."""
    monkeypatch.chdir(told[1])
    learn_directions(organism, ValueNeurons.load("neurons")).save("directions")
    kinds = set()
    for what in (*SHOWN, "directions"):
        status, shown, err = typed("inspect", what)
        assert status == 0, err
        assert shown.strip()
        status, out, err = typed("inspect", what, "--json")
        assert status == 0, err
        assert json.loads(out)["out"] == what
        kinds.add(what_lies_in(told[1] / what))
    assert kinds == set(KINDS)
    status, shown, _ = typed("inspect", "directions", "--value", "power")
    assert status == 0
    assert "tradition" not in shown


def test_inspect_points_to_the_verb_that_shows_what_is_no_result(told, monkeypatch, tmp_path):
    monkeypatch.chdir(told[1])
    for what, verb in (("built", "nnvalue data show built"), (organism_files(), "nnvalue locate --model")):
        status, _, err = typed("inspect", what)
        assert status == 1
        assert verb in err
    (tmp_path / "manifest.json").write_text('{"kind": "of-tomorrow", "sha256": {}}')
    status, _, err = typed("inspect", tmp_path)
    assert status == 1
    assert "'of-tomorrow', which this nnvalue does not know" in err


@pytest.mark.parametrize("as_json", [(), ("--json",)])
@pytest.mark.parametrize(
    "change",
    [{"steering": 1}, {"steering": {}}, {"steering": {"kind": "neurons"}}, {"model": "x"}, {"model": {"name": None}},
     {"changed": 3}, {"changed": "abc"}, {"changed": [1]}],
)  # fmt: skip
def test_a_damaged_note_of_a_baked_steering_is_one_sentence(change, as_json, tmp_path):
    """Its keys were looked at and not what they hold; with --json whatever stood there was passed on as a result."""
    words = {"kind": "prompt", "system": "Be kind.", "scope": "all"}
    note = {"steering": words, "model": {"name": "m"}, "changed": []}
    (tmp_path / "nnvalue_steering.json").write_text(json.dumps(note))
    assert typed("inspect", tmp_path, *as_json)[0] == 0
    (tmp_path / "nnvalue_steering.json").write_text(json.dumps(note | change))
    status, _, err = typed("inspect", tmp_path, *as_json)
    assert status == 1
    assert "nnvalue_steering.json is damaged" in err
