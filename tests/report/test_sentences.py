"""What the page says of figures in words: every sentence against the same computed again, from files or tables."""

import re
from dataclasses import replace

import numpy as np
import pytest
import yaml

from nnvalue.evaluation import Evaluation
from nnvalue.report import build_report
from tests.report import shelf
from tests.report.reading import Page
from tests.report.test_page import number

VALUES = ("power", "benevolence", "tradition")
ORGANISM = shelf.identity("nnvalue/organism")
UNSURE = {("tradition", "positive"): (0.5, 0.1, 0.02, 0.02), ("benevolence", "negative"): (0.08, 0.2, 0.33, 0.43)}
TINY = 0.004
"""Of portraits under edits: less than a hundredth of a point."""


def told(folder, *results):
    """A page of some results, and all its words."""
    for number_, one in enumerate(results):
        one.save(folder / f"r{number_}")
    read = Page(build_report([folder], folder / "page.html").out.read_text())
    return read, read.words()


def portrait(measured, keying, score, **where):
    return {"arm": "unsteered", "control_of": None, "value": None, "pole": None, "dose": 0.0, "draw": 0, **where,
            "item": f"{measured} {keying}", "unit": measured, "measured": measured, "keying": keying,
            "kind": "portrait", "score": score, "mass": 1.0}  # fmt: skip


def portraits():
    """Nothing under neurons; prompts move every target by a point, but power by half a point the wrong way.

    Beside benevolence, tradition falls by .8, which nobody asked to rise.
    """
    made = [portrait(value, keying, 3.0) for value in VALUES for keying in (1, -1)]
    for arm, doses in (("neurons", (1.0, 2.0)), ("prompt", (1.0,))):
        for dose in doses:
            for target in VALUES:
                for pole, sign in (("positive", 1), ("negative", -1)):
                    for value in VALUES:
                        moved = TINY if arm == "neurons" else 0.0
                        if arm == "prompt" and value == target:
                            moved = -0.5 if value == "power" else 1.0
                        elif arm == "prompt" and (target, value) == ("benevolence", "tradition"):
                            moved = -0.8
                        made += [portrait(value, keying, 3.0 + sign * keying * moved, arm=arm, value=target, pole=pole,
                                          dose=dose) for keying in (1, -1)]  # fmt: skip
    return made


@pytest.fixture(scope="module")
def done():
    """An evaluation of the organism, read by its parser; steering power leaves tradition alone.

    Two cells of neurons are above 0 by their intervals and not by q: one of them has p = .04.
    """
    made = shelf.evaluation(ORGANISM, values=VALUES)
    base = {row["situation"]: row["stance"] for row in made.answers if row["arm"] == "unsteered"}
    for row in made.answers:
        if (row["value"], row["measured"]) == ("power", "tradition"):
            row["stance"] = base[row["situation"]]
        cell, own = (row["value"], row["pole"]), row["value"] == row["measured"]
        if (row["arm"], row["dose"]) == ("neurons", 2.0) and own and cell in UNSURE:
            sign = 1 if row["pole"] == "positive" else -1
            row["stance"] = base[row["situation"]] + sign * UNSURE[cell][int(row["situation"][-2])]
        row["parse"] = f"about {'hedonism' if row['stance'] == 0 else row['measured']}, pieces +1"
    facts = {**made.facts, "judge": {"name": "parser", "kind": "parser"},
             "design": {**made.facts["design"], "pairs": 1}}  # fmt: skip
    return Evaluation(facts, made.answers, portraits(), made.costs)


@pytest.fixture(scope="module")
def steered(done, tmp_path_factory):
    return told(tmp_path_factory.mktemp("steered"), done)


def arm_sentence(words, arm):
    return words.split(f"Steered by {arm}: ")[1].split(" Steered by ")[0].split(" Figures in brackets")[0]


def test_an_arm_says_how_many_of_its_cells_pass(steered):
    """Six intervals lie above 0, and p < .05 in five; q, and another arm's cells, count otherwise."""
    read, words = steered
    rows = [row for row in read.tables["Headlines: 12 cells"][1:] if row[0] == "neurons"]
    lows = [number(re.search(r"\[([^,]+),", row[4])[1]) for row in rows]
    passed = sum(number(row[5]) < 0.05 for row in rows)
    said = arm_sentence(words, "neurons")
    assert f"in {sum(low > 0 for low in lows)} of 6 the interval lies above 0, and {passed} of 6 pass q < .05" in said
    assert (sum(low > 0 for low in lows), passed) == (6, 4)
    assert "Every cell is told at dose 2." in said
    assert {row[3] for row in rows} == {"2"}


def test_a_cell_without_a_harmless_dose_is_counted(tmp_path):
    """Every dose of neurons fails for power +, so that its lowest is the headline; the others keep their highest."""
    made = shelf.evaluation(values=VALUES)
    for row in made.answers:
        if (row["arm"], row["value"], row["pole"], row["measured"]) == ("neurons", "power", "positive", "power"):
            row.update(outcome="failed", stance=0.0)
    read, words = told(tmp_path, made)
    said = arm_sentence(words, "neurons")
    assert "1 in 1 cell, 2 in 5 cells; in 1 of 6 every dose adds more than 5 % failed answers" in said
    marked = [row[:4] for row in read.tables["Headlines: 12 cells"][1:] if row[3].endswith("*")]
    assert marked == [("neurons", "power", "positive", "1*")]


def matrix_of(answers, arm, dose):
    """[steered, measured]: mean over poles of mean movements, from the rows alone."""
    base = {row["situation"]: row["stance"] for row in answers if row["arm"] == "unsteered"}
    made = np.zeros((3, 3))
    for place, one in enumerate(VALUES):
        for column, other in enumerate(VALUES):
            for pole, sign in (("positive", 1), ("negative", -1)):
                made[place, column] += np.mean([
                    sign * (row["stance"] - base[row["situation"]]) for row in answers
                    if (row["arm"], row["value"], row["measured"], row["pole"], row["dose"])
                    == (arm, one, other, pole, dose)
                ]) / 2  # fmt: skip
    return made


def test_how_alike_rows_of_leakage_are_is_computed(steered, done):
    """A share of movement in place of squares, or a column's mean with the target in it, would give other figures."""
    read, words = steered
    matrix = matrix_of(done.answers, "prompt", 1.0)
    off = [[matrix[row, column] for row in range(3) if row != column] for column in range(3)]
    share = sum(2 * np.mean(column) ** 2 for column in off) / np.sum(np.square(off))
    own, other = np.trace(matrix) / 3, np.mean(off)
    assert share == pytest.approx(0.9, abs=0.001)  # by hand: 2 · (.01 + .01 + .0025) / (5 · .01)
    assert (
        f"Of the movement off the target, {share:.0%} (of squares) is the same whatever is steered; rows with nothing "
        f"in common would give 50%. A value moves by +{own:.2f} as the target and by −{abs(other):.2f} when" in words
    )
    assert f"What moves under prompt is nearly the same whatever is steered ({share:.0%} of it)" in words
    per_unit = np.mean([float(row[-3]) for row in read.tables["What else moves, in text: prompt"][1:]])
    assert f"Other values move, too: by {per_unit:.2f} for a unit of the target" in arm_sentence(words, "prompt")
    assert "A framed cell is the mean of 8 answers, any other one of 4" in words  # both poles; others had two each


def test_what_differs_by_row_gets_no_warning(tmp_path):
    """The warning is about this arm's rows: where each target has an effect of its own elsewhere, there is none."""
    made = shelf.evaluation(values=VALUES)
    base = {row["situation"]: row["stance"] for row in made.answers if row["arm"] == "unsteered"}
    for row in made.answers:
        if row["value"] and row["measured"] != row["value"]:
            way = 1 if VALUES.index(row["measured"]) == (VALUES.index(row["value"]) + 1) % 3 else -1
            sign = 1 if row["pole"] == "positive" else -1
            row["stance"] = base[row["situation"]] + 0.1 * way * sign
    _, words = told(tmp_path, made)
    assert "0% (of squares) is the same whatever is steered" in words
    assert "is nearly the same" not in words
    assert "The same ones move" not in words


def test_portraits_that_do_not_move_are_a_sentence_and_not_a_grid(steered):
    read, words = steered
    assert f"Nothing moves in portraits under neurons: of 3 × 3 cells (steered × measured) none moves by 0.01, the "\
           f"largest by {TINY:.4f}." in words  # fmt: skip
    assert "Portraits, the questionnaire, do not move (0.0000 at most)" in arm_sentence(words, "neurons")
    assert len(read.tables["What else moves, in portraits: neurons"]) == 4  # kept, as a table
    drawn = {own["aria-label"].split(";")[0] for own in read.elements("div", "plot")}
    assert "What else moves, in portraits: neurons" not in drawn
    assert "What else moves, in portraits: prompt" in drawn


def test_what_moves_the_wrong_way_is_named(steered):
    _, words = steered
    assert words.count("Against what was asked: steering power moves power by −0.50.") == 1


def test_zeros_of_answers_are_told_apart(done, steered):
    zeros = [row for row in done.answers if row["stance"] == 0]
    broken = sum(row["outcome"] == "failed" for row in zeros)
    other = sum(row["outcome"] == "answered" and row["parse"].startswith("about hedonism") for row in zeros)
    assert broken > 0 < other
    assert (
        f"Of the {len(zeros):,} answers with a stance of 0, {other:,} are about another value than was asked for; "
        f"{broken:,} cannot be read, and are marked." in steered[1]
    )


def test_an_arm_without_a_control_says_so(steered):
    read, words = steered
    assert "No random control was run." in arm_sentence(words, "prompt")
    assert words.count("No control was run for prompt.") == 2  # below its doses and below its costs
    assert words.count("No control was run for held-out loss.") == 2  # of neurons, and of effect against damage
    assert {row[6] for row in read.tables["Headlines: 12 cells"][1:] if row[0] == "prompt"} == {"no control"}


def test_a_cost_below_nothing_is_explained(tmp_path, steered):
    made = shelf.evaluation()
    for row in made.costs:
        row["difference"] = -0.1
    said = "A cost below 0 is a gain"
    assert said in told(tmp_path, made)[1]
    assert said not in steered[1]


def test_the_organism_is_explained_and_no_other_model_is_taken_for_it(steered, page):
    said = "Nothing here is evidence about real language models."
    _, words = steered
    assert words.index(said) < words.index("Steered by")  # before any finding
    assert words.count(said) == 2  # and in the glossary
    assert said not in Page(page.read_text()).words()


def test_words_are_those_of_the_results_on_the_page(steered, page):
    """A glossary of everything would explain what nobody meets."""
    heads = [one for _, one in re.findall(r"<(dt)>(.*?)</dt>", page.read_text())]
    assert {"called", "A/A bar", "setting", "F1, skeleton, SHD", "MDS, Procrustes, RTHOR", "AUROC"} <= set(heads)
    assert "organism" not in heads
    assert "SHD" not in steered[1].split("Words on this page")[1]


def test_neurons_of_the_evaluation_are_named_as_such(done, tmp_path):
    """They lie beside it; those in front are others, and the page says so before what was steered with them."""
    done.save(tmp_path / "e")
    shelf.neurons(null=False).save(tmp_path / "e.neurons" / "x")
    shelf.neurons(values=VALUES[:2]).save(tmp_path / "n")
    words = Page(build_report([tmp_path], tmp_path / "page.html").out.read_text()).words()
    said = (
        "Steered with other neurons: the evaluation located its own, of power, benevolence, tradition, from 12 "
        "situations a value. They are 54 places, held by 21 distinct neurons of 240"
    )
    assert words.index(said) < words.index("Steered by neurons")
    assert "; no A/A null was run for them." in words
    assert f"{tmp_path}/e.neurons/x: the neurons that {tmp_path}/e steered with" in words
    both = [tmp_path / "e", tmp_path / "e.neurons"]
    alone = Page(build_report(both, tmp_path / "o.html").out.read_text())
    assert "Steered with other neurons" not in alone.words()  # there are no others


def test_voices_are_counted_one_by_one(tmp_path):
    """Answers of the first voice, not of all; and how far apart voices are on the values that are named."""
    made = shelf.profile()
    scores = made.scores.copy()
    scores[1, 0], scores[1, -1] = 0.25, 0.75
    _, words = told(tmp_path, replace(made, scores=scores))
    first, last = (name.replace("_", " ") for name in (shelf.CIRCLE[0], shelf.CIRCLE[-1]))
    assert (
        f"Measured: voice 1 of 2 (neutral) holds {last} most (+1.00) and {first} least (−1.00), by 40 answers. A voice "
        f"is who the model was asked to speak as; the 2 differ: {last} from +0.75 to +1.00, {first} from "
        "−1.00 to +0.25." in words
    )


def test_a_graph_of_the_organism_is_held_against_the_model_that_was_put_in(tmp_path):
    from importlib import resources

    graph = replace(shelf.graph(), source={"model": ORGANISM, "framework": "schwartz"})
    _, words = told(tmp_path, graph)
    edges = graph.edges()
    often = sum(edge.edge_frequency >= 0.8 for edge in edges)
    assert f"{often} of {len(edges)} arrows come back in at least 80 % of 6 resamples of 24 roles" in words
    model = yaml.safe_load(resources.files("nnvalue.organism").joinpath("causal_model.yaml").read_text())
    real = {frozenset(edge[:2]) for edge in model["edges"]} if isinstance(model["edges"][0], list) else {
        frozenset((edge["cause"], edge["effect"])) for edge in model["edges"]
    }  # fmt: skip
    real = {pair for pair in real if pair <= set(graph.values)}
    found = {frozenset((edge.cause, edge.effect)) for edge in edges}
    wanted = 2 * len(real & found) / (len(real) + len(found))
    assert f"against it the edges reach F1 {wanted:.2f} (chance " in words


def test_an_effect_that_turns_by_way_of_others_is_noted(tmp_path):
    """Only where the total effect's interval leaves out 0; what a circle of arrows means, only where there is one."""
    graph = shelf.graph()
    edges = graph.edges()
    one, other = edges[0], edges[1]
    total, low, high = (matrix.copy() for matrix in (graph.total, graph.total_low, graph.total_high))
    for edge, sure in ((one, True), (other, False)):
        at = graph.values.index(edge.cause), graph.values.index(edge.effect)
        total[at] = -np.sign(edge.weight) * 0.3
        low[at], high[at] = total[at] - (0.1 if sure else 0.4), total[at] + (0.1 if sure else 0.4)
    _, words = told(tmp_path, replace(graph, total=total, total_low=low, total_high=high))
    direct, all_ = ("+", "−") if one.weight > 0 else ("−", "+")
    names = f"{one.cause} → {one.effect}".replace("_", " ")
    assert f"{names}: direct {direct}, in total {all_}, by way of others." in words
    assert f"{other.cause} → {other.effect}: direct".replace("_", " ") not in words
    assert ("no order can be read" in words) == ("goes round in circles" in words)


def test_places_and_measures_are_named(page):
    """The two values furthest from the theory's place, and the measures that lie within people's bar."""
    read = Page(page.read_text())
    words = read.words()
    apart = sorted(read.tables["Values on the circle"][1:], key=lambda row: -float(row[3][:-1]))
    furthest = re.search(r"Furthest from their place: (.*?)\.", words)[1].split(", ")
    assert [float(one.split("(")[1][:-2]) for one in furthest] == [float(row[3][:-1]) for row in apart[:2]]
    assert {tuple(one[:-1].split(" (")) for one in furthest} <= {(row[0], row[3]) for row in apart}
    count, known, named = re.search(r"(\d+) of (\d+) measures lie within .*? reach: (.*?)\.", words).groups()
    rows = [row for row in read.tables["Like the circle, like people?"][1:] if row[4] != "—"]
    assert (int(count), int(known)) == (len(named.split("; ")), len(rows))
    for row in rows:
        low, high = map(number, row[4].split(" – "))
        if number(row[1]) not in (low, high):  # what rounds onto an end may lie on either side of it
            assert (row[0] in named.split("; ")) == (low < number(row[1]) < high), row


def test_settings_that_move_the_wrong_way_are_named(tmp_path):
    made = shelf.survey()
    scores = made.scores.copy()
    keyed = np.where([item.value == shelf.CIRCLE[0] for item in made.items], [item.keying for item in made.items], 0)
    scores[1] -= 2 * keyed[:, None]  # the setting that lifted its value by a point now lowers it by one
    words = told(tmp_path, replace(made, scores=scores))[1]
    name = shelf.CIRCLE[0].replace("_", " ")
    assert f"Against what was asked: prompt {name} + by −1.00 towards its own pole." in words


def test_versions_of_all_are_told_once(tmp_path, page):
    read, words = told(tmp_path, shelf.survey(), shelf.profile())
    assert "All were made with nnvalue 0.1.0, torch 2.13.0." in words
    assert read.tables["What was run"][0][-1] == "seed"
    mixed = Page(page.read_text())  # its graph was made here, with other versions
    assert mixed.tables["What was run"][0][-1] == "versions"
    assert "were made with" not in mixed.words()


def test_a_legend_has_only_what_is_drawn(tmp_path):
    graph = shelf.graph()
    up = replace(graph, weights=np.abs(graph.weights), edge_frequency=np.ones_like(graph.edge_frequency))
    told(tmp_path, up)
    text = (tmp_path / "page.html").read_text()
    keys = re.search(r"<figcaption>A causal value graph.*?</figure>", text, re.DOTALL)[0]
    assert re.findall(r"</svg> ([\w ]+)</li>", keys) == ["raises"]
