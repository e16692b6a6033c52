"""What goes into a report when something is damaged, foreign, unfinished, partial or mixed; and where it is written."""

import json
import shutil

import pytest

from nnvalue.artifacts import write_folder
from nnvalue.errors import ArtifactError, InvalidInputError
from nnvalue.report import build_report
from nnvalue.steering.baking import MARKER
from tests.cli.running import run_here
from tests.report import shelf
from tests.report.reading import Page


def words(made):
    return Page(made.out.read_text()).words()


@pytest.fixture
def some(runs, tmp_path):
    """Neurons that are whole, and room beside them."""
    folder = tmp_path / "runs"
    shutil.copytree(runs / "neurons", folder / "neurons")
    return folder


def test_a_damaged_result_is_told_and_the_rest_is_shown(runs, some, tmp_path):
    shutil.copytree(runs / "evaluation", some / "evaluation")
    (some / "evaluation" / "answers.parquet").write_bytes(b"")
    shutil.copytree(runs / "graph", some / "graph")
    graph = json.loads((some / "graph" / "graph.json").read_text())
    (some / "graph" / "graph.json").write_text(json.dumps({**graph, "schema": 99}))
    made = build_report([some], tmp_path / "r.html")
    assert [kind for _, kind in made.shown] == ["value-neurons"]
    told = {one.where: one.what for one in made.problems}
    assert set(told) == {str(some / "evaluation"), str(some / "graph")}
    assert "damaged" in told[str(some / "evaluation")]
    for one in made.problems:
        assert f"{one.where} : {one.what} {one.todo}" in words(made)
    assert "520" not in words(made)
    assert "Where value neurons lie" in words(made)


def test_a_result_of_another_version_or_of_an_unknown_kind_is_told(some, tmp_path):
    write_folder(some / "new", "telepathy", {"a.json": b"{}"})
    later = shelf.graph()
    later.save(some / "graph")
    content = json.loads((some / "graph" / "graph.json").read_text())
    write_folder(some / "graph", "graph", {"graph.json": json.dumps({**content, "schema": 99}).encode()})
    made = build_report([some], tmp_path / "r.html")
    told = {one.where.rsplit("/", 1)[1]: one.what for one in made.problems}
    assert told["new"] == "It is of a kind that is not known: telepathy."
    assert "another version of nnvalue" in told["graph"]


def test_unfinished_work_is_told_with_what_to_do(runs, some, tmp_path):
    (some / "organism-eval.work").mkdir()
    shutil.copytree(runs / "profile", some / "done")
    (some / "done.work").mkdir()  # left by a result that is whole: nothing to say
    made = build_report([some], tmp_path / "r.html")
    (problem,) = made.problems
    assert problem.where.endswith("organism-eval.work")
    assert "the same command again" in problem.todo
    assert problem.todo in words(made)


def test_a_graph_without_stability_is_not_shown_and_its_absence_is(tmp_path):
    bare = shelf.graph(resamples=0, ways=0)
    bare.save(tmp_path / "g")
    made = build_report([tmp_path / "g"], tmp_path / "r.html")
    content = made.out.read_text()
    assert "fitted without its stability, and is not shown without it" in content
    assert 'class="edge' not in content
    half = shelf.graph(resamples=2, ways=0)
    half.save(tmp_path / "h")
    content = build_report([tmp_path / "h"], tmp_path / "h.html").out.read_text()
    assert 'class="edge' in content
    assert "Stability over halves of the roles is missing" in content


def test_what_was_not_read_or_run_is_told(tmp_path):
    shelf.neurons(null=False).save(tmp_path / "n")
    shelf.evaluation(costs=False).save(tmp_path / "e")
    shelf.survey(roles=4).save(tmp_path / "s")
    told = words(build_report([tmp_path / "n", tmp_path / "e", tmp_path / "s"], tmp_path / "r.html"))
    assert "The A/A control was not run here" in told
    assert "Held-out sentences were not read" in told
    assert "Portraits were not read" in told
    assert "Structure against the circle and people is not told: A structure needs 5 people" in told
    assert "a causal graph of values: nnvalue survey" in told


def test_results_of_several_models_or_theories_are_told_apart(some, tmp_path):
    shelf.profile(shelf.identity(weights="other"), framework="moral_foundations", values=("care", "loyalty")).save(
        some / "profile"
    )
    made = build_report([some], tmp_path / "r.html")
    assert len(made.shown) == 2
    assert [one.what.split(" (")[0] for one in made.problems] == [
        "are of 2 different models", "are of 2 different frameworks of values",
    ]  # fmt: skip
    assert "not comparable" in words(made)


def test_what_an_evaluation_located_stands_behind_it(runs, some, tmp_path):
    shutil.copytree(runs / "evaluation", some / "e")
    shutil.copytree(runs / "neurons", some / "e.neurons" / "12ab")
    made = build_report([some], tmp_path / "r.html")
    assert {folder for folder, kind in made.shown if kind == "value-neurons"} == {
        str(some / "neurons"), str(some / "e.neurons" / "12ab"),
    }  # fmt: skip
    assert made.shown[-1][0].endswith("12ab")


def test_what_has_no_chapter_is_in_the_list(some, tmp_path):
    """Baked models have no manifest; directions, steerings and autoencoders have one, and nothing to draw."""
    (some / "baked").mkdir()
    marker = {"kind": "baked steering", "model": shelf.identity(), "versions": shelf.VERSIONS}
    (some / "baked" / MARKER).write_text(json.dumps(marker))
    write_folder(some / "sae", "sparse-autoencoder", {"cfg.json": json.dumps({"d_sae": 8}).encode()})
    made = build_report([some], tmp_path / "r.html")
    assert made.problems == ()
    rows = {row[0]: row for row in Page(made.out.read_text()).tables["What was run"][1:]}
    assert rows[str(some / "baked")][1:3] == ("baked model", "toy/model, float32, local")
    assert rows[str(some / "sae")][1] == "sparse autoencoder"


def test_nothing_to_show_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match="There is no folder runs here"):
        build_report()
    (tmp_path / "runs").mkdir()
    with pytest.raises(InvalidInputError, match="No result that can be shown in runs"):
        build_report()
    with pytest.raises(InvalidInputError, match="There is no such folder"):
        build_report(["nowhere"])
    assert not list(tmp_path.glob("*.html"))


def test_a_report_is_replaced_and_nothing_else_is(some, tmp_path):
    out = tmp_path / "r.html"
    build_report([some], out)
    build_report([some], out, title="Again")
    assert "<title>Again</title>" in out.read_text()
    out.write_text("<html>mine</html>")
    with pytest.raises(ArtifactError, match="is no report of nnvalue"):
        build_report([some], out)
    assert out.read_text() == "<html>mine</html>"
    build_report([some], out, overwrite=True)
    assert "mine" not in out.read_text()
    with pytest.raises(ArtifactError, match="is a folder"):
        build_report([some], some)


def test_the_command_says_what_went_in_and_what_could_not(some, tmp_path, capsys, monkeypatch):
    (some / "broken").mkdir()
    (some / "broken" / "manifest.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    status, said, errors = run_here(capsys, monkeypatch, "report")
    assert status == 0
    assert "value-neurons: runs/neurons" in said
    assert "Written to report.html" in said
    assert errors.startswith("runs/broken: ")
    status, said, errors = run_here(capsys, monkeypatch, "report", "runs", "-o", "other.html", "--json")
    data = json.loads(said)
    assert status == 0
    assert (data["out"], data["shown"]) == ("other.html", [{"folder": "runs/neurons", "kind": "value-neurons"}])
    assert data["bytes"] == (tmp_path / "other.html").stat().st_size
    assert [one["where"] for one in data["problems"]] == ["runs/broken"]
    assert (tmp_path / "other.html").read_bytes() == (tmp_path / "report.html").read_bytes()
    status, _, errors = run_here(capsys, monkeypatch, "report", "runs/broken")
    assert status == 1
    assert errors.startswith("Error: No result that can be shown")
