"""What stands on the page, against what stands on the disk; and that nothing else can stand there."""

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from importlib import resources

import numpy as np
import pyarrow.parquet
import pytest
from safetensors.numpy import load_file

from nnvalue.report import build_report
from nnvalue.values import load_framework
from tests.report import shelf
from tests.report.reading import Page


@pytest.fixture(scope="module")
def read(page):
    return Page(page.read_text())


def number(told):
    return float(told.replace("−", "-"))


def test_every_kind_of_result_has_its_chapter_and_its_place_in_the_list(read, runs):
    for name in ("summary", "neurons", "steering", "graph", "structure", "profile", "features", "runs", "words"):
        assert ("a", {"href": f"#{name}"}) in read.tags
        assert any(own.get("id") == name for own in read.elements("section"))
    rows = read.tables["What was run"][1:]
    assert {row[1] for row in rows} == {
        "value neurons", "evaluation", "causal graph", "survey", "value profile", "SAE features",
    }  # fmt: skip
    by_kind = {row[1]: row for row in rows}
    assert by_kind["value neurons"][0] == str(runs / "neurons")
    assert by_kind["value neurons"][6] == "7"  # seeds, each from its own place in its record
    assert by_kind["evaluation"][6] == "3"
    assert by_kind["survey"][6] == "5"
    assert "torch 2.13.0" in by_kind["evaluation"][7]


def test_neurons_by_layer_are_those_of_the_table_on_disk(read, runs):
    """A row or a pole that is exchanged would show other counts."""
    table = load_file(runs / "neurons" / "neurons.safetensors")
    value, pole, layer = (table[f"table.{name}"] for name in ("value", "pole", "layer"))
    shown = {(row[0], row[1]): row for row in read.tables["Where value neurons lie"][1:]}
    assert len(shown) == 2 * len(shelf.VALUES)
    for place, name in enumerate(shelf.VALUES):
        for sign, side in ((1, "positive"), (-1, "negative")):
            mine = layer[(value == place) & (pole == sign)]
            row = shown[name, side]
            assert [int(cell) for cell in row[2:6]] == [int((mine == one).sum()) for one in range(shelf.LAYERS)]
            assert row[6:] == ("9", "0.90", "0.125", "10.0%" if sign > 0 else "5.0%")  # 24 and 12 of 240


def test_a_cell_tells_its_strongest_neurons(page):
    hints = re.findall(r"<title>(power \+, layer 0: .*?)</title>", page.read_text(), re.DOTALL)
    assert len(hints) == 1
    assert "3 selected, 2 of them called" in hints[0]  # numbers 0, 4 and 8; called are those below 6
    assert "neuron 0/0: δ +0.250 (p+ 0.625, p− 0.375), score +1.000, q 0.001" in hints[0]


def test_overlap_is_told_by_poles_and_beside_chance(read, runs):
    """The three shared neurons of nine a pole: 6 of 30 of the same poles, none exchanged; chance by drawing."""
    rows = {(row[0], row[1]): row for row in read.tables["What values share"][1:]}
    row = rows[("tradition", "benevolence") if ("tradition", "benevolence") in rows else ("benevolence", "tradition")]
    assert (row[2], row[4]) == ("0.200", "0.200")  # the same neurons stand at both poles of every value, by hand
    rng = np.random.default_rng(0)
    sizes, drawn = (3, 2, 2, 2), []
    for _ in range(4000):
        sets = [{(layer, pole, int(one)) for pole in (0, 1) for layer, size in enumerate(sizes)
                 for one in rng.choice(shelf.WIDTH, size, replace=False)} for _ in range(2)]  # fmt: skip
        drawn.append(len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
    assert number(row[3]) == pytest.approx(np.mean(drawn), abs=0.002)


def test_dose_and_response_are_the_means_of_the_rows(read, runs):
    rows = pyarrow.parquet.read_table(runs / "evaluation" / "answers.parquet").to_pylist()
    base = {row["situation"]: row["stance"] for row in rows if row["arm"] == "unsteered"}
    shown = {(row[0], row[1], row[2]): row for row in read.tables["Dose and response: neurons"][1:]}
    assert len(shown) == 8
    for (value, pole, dose), row in shown.items():
        sign = 1 if pole == "positive" else -1
        for arm, cell in (("neurons", row[3]), ("neurons, random neurons", row[5])):
            moved = [
                sign * (one["stance"] - base[one["situation"]])
                for one in rows
                if one["arm"] == arm
                and one["value"] == value == one["measured"]
                and one["pole"] == pole
                and one["dose"] == float(dose)
            ]
            assert number(cell.split(" ")[0]) == pytest.approx(np.mean(moved), abs=0.0051)
        assert row[7] == ("0.25" if dose == "1" else "0.00")  # the broken answer counts as failed


def test_dose_0_and_controls_stand_in_the_same_axes_with_marks_of_their_own(page):
    figure = re.search(r"<figure[^>]*>\s*<figcaption>Dose and response: neurons.*?</figure>", page.read_text(), re.S)[0]
    panels = re.findall(r'<svg role="img".*?</svg>', figure, re.DOTALL)
    assert len(panels) == 2  # a value each
    for panel in panels:
        assert "dose 0: the unsteered answers" in panel
        assert 'class="curve control c-random"' in panel  # dashed in the style sheet
        assert 'class="curve s0"' in panel
        assert panel.count('<g class="control c-random"><circle') == 5  # two doses a pole, and none


def test_the_front_is_what_nothing_beats(read):
    rows = read.tables["Effect against damage"][1:]
    points = [(number(row[2]), -number(row[3]), -number(row[4])) for row in rows]
    for row, point in zip(rows, points, strict=True):
        beaten = any(all(a >= b for a, b in zip(other, point, strict=True)) and other != point for other in points)
        assert row[5] == ("no" if beaten else "yes")
    assert {row[5] for row in rows} == {"yes", "no"}


def test_leakage_is_the_movement_of_the_others(read, page):
    rows = {row[0]: row for row in read.tables["What else moves, in text: prompt"][1:]}
    assert (rows["power"][1], rows["power"][2]) == ("+0.60", "−0.10")
    assert (rows["benevolence"][1], rows["benevolence"][2]) == ("−0.10", "+0.60")
    drawn = re.search(r"<figcaption>What else moves, in text: prompt.*?</svg>", page.read_text(), re.DOTALL)[0]
    framed = re.findall(r'<rect [^>]*class="\w+ own"/>.*?<title>(.*?)</title>', drawn)
    assert framed == [
        f"steering {one} moves {one} by +0.600 (its own), n = 8 answers" for one in ("power", "benevolence")
    ]


def test_every_answer_at_the_headline_dose_stands_beside_the_unsteered_one(page):
    content = page.read_text()
    pairs = re.findall(r'<li class="exchange">(.*?)</li>', content, re.DOTALL)
    assert len(pairs) == 2 * 2 * 2 * 4  # arms, values, poles, situations
    told = [re.findall(r'<p class="said">(.*?)</p>', pair) for pair in pairs]
    for plain, steered, *control in told:
        situation = plain.split()[1]
        assert steered.split()[3] == situation
        assert all(one.split()[3] == situation and one.startswith("random 0") for one in control)
    assert Counter(len(one) for one in told) == {3: 16, 2: 16}  # a prompt has no random control
    assert "32 of 32 situations are shown." in content


def test_a_broken_answer_is_shown_as_one(tmp_path):
    made = shelf.evaluation()
    for row in made.answers:  # at every dose, so that it is in the headline
        if row["arm"] == "neurons" and row["situation"] == "po-0a":
            row.update(outcome="refused", stance=0.0, text="")
    made.save(tmp_path / "e")
    content = build_report([tmp_path / "e"], tmp_path / "r.html").out.read_text()
    broken = re.findall(r'<div class="answer broken">(.*?)</div>', content, re.DOTALL)
    assert len([one for one in broken if "(nothing)" in one and "Broken: refused; counts as 0" in one]) == 2


def test_few_letters_show_few_answers_and_say_so(runs, tmp_path):
    made = build_report([runs / "evaluation"], tmp_path / "r.html", text_budget=12_000)
    content = made.out.read_text()
    shown, whole = map(int, re.search(r"(\d+) of (\d+) situations are shown, the first", content).groups())
    assert whole == 32
    assert 0 < shown < 32
    assert content.count('<li class="exchange">') == shown


def test_a_graph_comes_with_frequencies_chance_and_dashes(page, read, runs):
    data = json.loads((runs / "graph" / "graph.json").read_text())
    found = shelf.graph()
    rows = read.tables["A causal value graph by effects"][1:]
    assert len(rows) == len(found.edges()) > 2
    for cause, _, effect, weight, edge, arrow, _ in rows:
        i, j = (data["values"].index(name.replace(" ", "_")) for name in (cause, effect))
        assert (number(weight), number(edge), number(arrow)) == pytest.approx(
            (data["weights"][i][j], data["edge_frequency"][i][j], data["arrow_frequency"][i][j]), abs=0.0051
        )
    drawn = re.search(r'<figcaption>A causal value graph.*?(<svg role="img".*?</svg>)', page.read_text(), re.DOTALL)[1]
    rare = [edge for edge in found.edges() if edge.edge_frequency < 0.5]
    assert len(re.findall(r'<path [^>]*class="edge (?:up|down) rare"', drawn)) == len(rare) == 1
    assert len(re.findall(r'<path [^>]*class="edge down', drawn)) == sum(edge.weight < 0 for edge in found.edges())
    halves = {row[0]: row for row in read.tables["How stable it is"][1:]}
    assert number(halves["halves of roles, edges"][3]) == pytest.approx(data["by_role"]["skeleton_chance"], abs=0.0051)


def test_structure_stands_beside_chance_and_the_human_ceiling(read, page):
    rows = {row[0]: row for row in read.tables["Like the circle, like people?"][1:]}
    scores = shelf.survey().value_scores()[0]
    centred = scores - scores.mean(1, keepdims=True)
    upper = np.triu_indices(10, 1)
    angles = 2 * np.pi * np.arange(10) / 10
    wanted = np.corrcoef(np.corrcoef(centred.T)[upper], np.cos(angles[:, None] - angles)[upper])[0, 1]
    template = rows["r with the circle's template, cos(distance)"]
    assert number(template[1]) == pytest.approx(wanted, abs=0.0051)
    assert template[4] == "0.78 – 0.87"  # published samples by the same formula, docs/causal.md
    assert abs(number(template[2])) < 0.1
    hint = re.search(
        r"r with the circle&#39;s template, cos\(distance\), shuffled names \(chance\): (.*?)<", page.read_text()
    )
    low, high = map(number, re.findall(r"[−\d.]+", hint[1])[1:])
    assert (low + high) / 2 == pytest.approx(number(template[2]), abs=0.011)
    assert high - low > 0.3  # four standard deviations of r over 45 pairs of ten shuffled values


def test_features_stand_beside_chance(read, page):
    rows = read.tables["Features that tell a value"][1:]
    assert [(row[0], row[1], row[2], row[3]) for row in rows] == [
        ("power", "positive", "0", "0.900"), ("power", "negative", "0", "0.100"),
        ("tradition", "positive", "10", "0.900"), ("tradition", "negative", "10", "0.100"),
    ]  # fmt: skip
    figure = re.search(r"<figcaption>Features that tell a value.*?</figure>", page.read_text(), re.DOTALL)[0]
    assert len(re.findall(r"<title>\w+, chance: 0.50</title>", figure)) == 2


def test_the_summary_is_computed(read):
    words = read.words()
    assert "Located: 9 neurons for each pole of power, benevolence, tradition, from 12 situations a value" in words
    # 54 places; both poles of a value have the same nine, and all three values share three of them: 3 + 3 · 6.
    assert "54 places, held by 21 distinct neurons of 240; most, 18, lie in layer 0 (of 0 to 3)" in words
    # Of 240 neurons 24 + 12 are called for each value.
    assert "36 of the 54 differ by more than wording alone does, as do 15% of all neurons" in words
    assert "Steered by neurons: the stance of answers, −1 to 1, moves towards the asked pole by +0.50 [" in words
    assert "Random edits of the same size: 0.00, from 0.00 to 0.00." in words


def test_nothing_is_loaded_and_nothing_runs_but_our_script(page, read):
    """One script and one style, whose hashes the policy names; no address but places on this page."""
    script, style = (
        resources.files("nnvalue.report").joinpath(name).read_text() for name in ("report.js", "style.css")
    )
    assert ["".join(read.scripts)] == [script]
    assert ["".join(read.styles)] == [style]
    assert len(script.encode()) <= 30_000
    policy = next(own["content"] for own in read.elements("meta") if "http-equiv" in own)
    for kind, content in (("script", script), ("style", style)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"url\(|@import|https?:", style)
    names = {own["id"] for _, own in read.tags if "id" in own}
    assert len(names) == sum("id" in own for _, own in read.tags)
    for tag, own in read.tags:
        assert tag not in {"img", "iframe", "object", "embed", "link", "base", "form", "video", "audio", "use", "image"}
        assert not {"src", "srcset", "style", "xlink:href", "action", "ping"} & set(own), (tag, own)
        assert not any(name.startswith("on") for name in own), (tag, own)
        if "href" in own:
            assert own["href"].startswith("#")
            assert own["href"][1:] in names
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(own.get(name, "").split()) <= names
    assert page.stat().st_size < 2_000_000


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Every text that a model, a judge or a user's file can put into a result, as an attack."""
    folder = tmp_path_factory.mktemp("hostile")
    bad, model = shelf.HOSTILE, shelf.identity(name=shelf.HOSTILE)
    values = (bad, f"b{bad}", f"c{bad}")
    shelf.neurons(values, model).save(folder / "neurons")
    shelf.evaluation(model, bad, judge=bad, note=bad).save(folder / "evaluation")
    shelf.survey(model, framework=bad, values=tuple(f"{number}{bad}" for number in range(10))).save(folder / "survey")
    shelf.profile(model, voices=(bad, "b"), framework=bad, values=tuple(f"{n}{bad}" for n in range(4))).save(
        folder / "profile"
    )
    shelf.features(model, values[:2], bad).save(folder / "features")
    whole = shelf.graph()
    names = tuple(f"{number}{bad}" for number in range(len(whole.values)))
    source = {"model": model, "framework": bad}
    replace(whole, values=names, warnings=(bad,), source=source, rule={**whole.rule, "method": bad}).save(
        folder / "graph"
    )
    other = folder / "broken<script>alert(3)<"
    other.mkdir()
    (other / "manifest.json").write_text(json.dumps({"kind": bad, "sha256": {}}))
    return build_report([folder], folder.parent / "hostile.html", title=f"{bad}\ud800\0").out


def test_text_of_models_and_judges_is_text(hostile, read):
    bad = Page(hostile.read_text())
    assert "".join(bad.scripts) == "".join(read.scripts)
    assert len(bad.elements("script")) == len(bad.elements("style")) == 1
    # What is missing is told in <b> and <code> of our own; a page on which nothing is has neither.
    assert {tag for tag, _ in bad.tags} <= {tag for tag, _ in read.tags} | {"b", "code"}
    assert len(bad.elements("b")) == 2  # a broken folder, and two frameworks
    assert not any(name.startswith("on") or name == "style" for _, own in bad.tags for name in own)
    words = bad.words()
    assert words.count("<script>alert(1)</script>") > 100
    assert "49" not in re.findall(r"\]\]>(\S*)", words)  # {{ 7*7 }} is no template here
    assert "{{ 7*7 }}&lt;b&gt;" in words
    assert "broken<script>alert(3)<" in words


def test_the_same_results_give_the_same_bytes(runs, page, tmp_path):
    """A folder's results, newest first, and the same ones by name; any clock or order of a set would show."""
    names = ("features", "profile", "survey", "graph", "evaluation", "neurons")
    assert build_report([runs / name for name in names], tmp_path / "r.html").out.read_bytes() == page.read_bytes()


def test_a_framework_without_a_circle_says_so(tmp_path):
    foundations = load_framework("moral_foundations")
    names = tuple(foundations.values)
    shelf.neurons(names[:3], framework="moral_foundations").save(tmp_path / "n")
    shelf.survey(framework="moral_foundations", values=names).save(tmp_path / "s")
    shelf.evaluation(framework=foundations, values=names[:2]).save(tmp_path / "e")
    words = Page(build_report([tmp_path], tmp_path / "r.html").out.read_text()).words()
    assert words.count("not defined for this framework") >= 2
    assert "the framework 'moral_foundations' has no circle of these values" in words


def contrast(one, other):
    """WCAG 2: relative luminances of two #rgb colours."""

    def luminance(colour):
        full = "".join(2 * part for part in colour[1:]) if len(colour) == 4 else colour[1:]
        parts = [int(full[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [":root{", ":root[data-theme=dark]{", ":root:not([data-theme=light]){"])
def test_colours_can_be_read_in_either_theme(theme):
    """axe sees no text in SVG; figures in cells, words on paper and marks are held to WCAG's 4.5 and 3 here."""
    style = resources.files("nnvalue.report").joinpath("style.css").read_text()
    block = style[style.index(theme) :].split("}")[0]
    colour = dict(re.findall(r"--([\w-]+):(#[0-9a-f]+)", block))
    for name in ("ink", "soft", "mark"):
        for ground in ("paper", "sheet"):
            assert contrast(colour[name], colour[ground]) >= 4.5, (name, ground)
    assert contrast(colour["warn"], colour["warn-bg"]) >= 4.5
    assert contrast(colour["ink"], colour["warn-bg"]) >= 4.5
    for step in ("z", "p1", "p2", "p3", "n1", "n2", "n3"):
        assert contrast(colour["off"], colour[step]) >= 4.5, step
    for step in ("p4", "p5", "n4", "n5"):
        assert contrast(colour["on"], colour[step]) >= 4.5, step
    for series in ("control", *(f"s{number}" for number in range(8))):
        assert contrast(colour[series], colour["paper"]) >= 3, series
