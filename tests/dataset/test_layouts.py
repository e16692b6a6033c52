"""Other people's layouts: every row becomes one of ours or is listed, with labels, poles, keying and line."""

import json
from collections import Counter

import pytest

from nnvalue.dataset import check_edition, import_layout, load_valueinsight
from nnvalue.errors import DatasetError, NnvalueError, UnknownNameError
from nnvalue.values import load_framework
from tests.dataset import foreign


def told(made):
    """(file's name, line, kind) of all that did not fit."""
    return [(one.file.rpartition("/")[2], one.number, one.kind) for some in made.misfits.values() for one in some]


# PersonalityBench


@pytest.mark.parametrize("given", [".", "dataset"])
def test_personalitybench_comes_in_whole(tmp_path, given):
    """Rows in are rows out: a question lost, a pole turned round or a pair shifted by one would show here."""
    files = foreign.personalitybench(tmp_path / "theirs")
    made = import_layout(tmp_path / "theirs" / given, "personalitybench", tmp_path / "out")
    assert told(made) == []
    edition = load_valueinsight(tmp_path / "out")
    assert edition.fingerprint == made.edition.fingerprint
    people = {
        (row["value"], row["pole"], row["pair"]): row["text"]
        for row in edition.descriptions
    }  # fmt: skip
    theirs = {}
    for number, line in enumerate(files["description.json"]):
        pair = number % foreign.PAIRS + 1
        for key, text in line.items():
            value = "boldness" if key.startswith("Boldness") else "care_for_money"
            theirs[value, "negative" if key.endswith("_reversed") else "positive", pair] = text.strip()
    assert people == theirs
    asked = {(row["text"], row["value"], row["split"]) for row in edition.situations}
    values = {"tmp": "boldness", "Boldness": "boldness", "Care for Money": "care_for_money"}
    assert asked == {
        (row["question"], values[name.split("/")[1].removesuffix(".json")], splits[name.split("/")[0]])
        for splits in ({"search": "locate", "test": "test"},)
        for name, rows in files.items()
        if "/" in name
        for row in rows
    }
    assert len(edition.situations) == 6 + 4 + 3 + 2


def test_variants_of_one_topic_share_a_core_and_no_core_is_in_both_splits(tmp_path):
    """Without a common core variants fall into two folds; one across splits could not be opened at all."""
    files = foreign.personalitybench(tmp_path)
    files["test/Boldness.json"] = [{**files["search/tmp.json"][0], "question": "And who jumps?"}]
    foreign.write_all(tmp_path / "dataset", files)
    import_layout(tmp_path, "personalitybench", tmp_path / "out")
    rows = list(load_valueinsight(tmp_path / "out").situations)
    cores = Counter(row["core"] for row in rows if row["value"] == "boldness")
    assert sorted(cores.values()) == [1, 3, 3]
    assert {(row["facet"], row["domain"]) for row in rows if row["value"] == "boldness"} == {
        ("Daring", "at sea"), ("Daring", "in town"),
    }  # fmt: skip
    plain = [row for row in rows if row["value"] == "care_for_money"]
    assert len({row["core"] for row in plain}) == len(plain)
    assert {(row["facet"], row["domain"]) for row in plain} == {("unnamed", "unnamed")}


def test_what_has_no_column_is_counted(tmp_path):
    foreign.personalitybench(tmp_path)
    made = import_layout(tmp_path, "personalitybench", tmp_path / "out")
    assert made.aside == {"facet": 6, "sign": 6, "old_data": 3}


def test_the_traits_found_are_a_framework_that_travels_with_the_data(tmp_path):
    foreign.personalitybench(tmp_path / "theirs")
    made = import_layout(tmp_path / "theirs", "personalitybench", tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "moved")
    framework = load_framework(load_valueinsight(tmp_path / "moved").framework)
    assert [(value.name, value.title) for value in framework.values.values()] == [
        ("boldness", "Boldness"), ("care_for_money", "Care for Money"),
    ]  # fmt: skip
    assert not framework.has_circle
    assert "theirs" in framework.source
    assert str(tmp_path) not in (tmp_path / "moved" / "framework.yaml").read_text()
    assert made.edition.framework == str(tmp_path / "out" / "framework.yaml")


def test_labels_of_a_given_framework(tmp_path):
    """A trait that the framework lacks must be listed, row for row, and not become a value of its own."""
    foreign.personalitybench(tmp_path)
    own = tmp_path / "mine.yaml"
    own.write_text("name: mine\nvalues: [{name: pluck, title: Boldness}]\n")
    made = import_layout(tmp_path, "personalitybench", tmp_path / "out", framework=str(own))
    assert made.edition is None
    assert Counter(kind for *_, kind in told(made)) == {"wrong label": 2 * foreign.PAIRS + 4 + 2}
    made = import_layout(tmp_path, "personalitybench", tmp_path / "out", framework=str(own), leave_out=True)
    assert made.edition.values() == ("pluck",)
    assert len(made.edition.descriptions) == 2 * foreign.PAIRS


def test_a_group_is_no_value_of_a_text(tmp_path):
    """Rows labelled with a group could be imported and then never be located on."""
    files = foreign.personalitybench(tmp_path)
    files["search/tmp.json"] = [{**row, "BFI": "Conservation"} for row in files["search/tmp.json"]]
    foreign.write_all(tmp_path / "dataset", files)
    made = import_layout(tmp_path, "personalitybench", tmp_path / "out", framework="schwartz")
    assert sum("It is a group of 'schwartz'" in one.fault for one in made.misfits["situations"]) == 6


def test_a_text_that_does_not_fit_is_listed_with_its_partner_and_shifts_no_pair(tmp_path):
    files = foreign.personalitybench(tmp_path)
    lines = files["description.json"]
    lines[2]["Boldness"] = " "
    lines[5] = {"Boldness": lines[5]["Boldness"]}  # one positive more than negative ones
    files["search/tmp.json"][1]["question"] = files["search/tmp.json"][0]["question"]
    files["test/Boldness.json"][2] = {"question": 3}
    foreign.write_all(tmp_path / "dataset", files)
    assert import_layout(tmp_path, "personalitybench", tmp_path / "out").edition is None
    assert not (tmp_path / "out").exists()
    made = import_layout(tmp_path, "personalitybench", tmp_path / "out", leave_out=True)
    assert told(made) == [
        ("description.json", 3, "empty text"), ("description.json", 3, "unpaired"),
        ("description.json", 12, "unpaired"),
        ("tmp.json", 2, "duplicate"), ("Boldness.json", 3, "wrong type"),
    ]  # fmt: skip
    assert "stands in row 1 too" in made.misfits["situations"][0].fault
    texts = {(row["pair"], row["pole"]): row["text"] for row in made.edition.descriptions if row["value"] == "boldness"}
    assert texts[2, "positive"].split()[1] == texts[2, "negative"].split()[1] == "1"
    assert texts[4, "positive"].split()[1] == texts[4, "negative"].split()[1] == "3"
    rows = sum(map(len, (made.edition.descriptions, made.edition.situations)))
    assert rows + len(told(made)) == 4 * foreign.PAIRS - 1 + 15


def test_descriptions_with_one_key_a_line_and_questions_in_testdata(tmp_path):
    """The files are in use with either habit; the file of descriptions goes by any name."""
    files = foreign.personalitybench(tmp_path / "a")
    split = [{key: text} for line in files.pop("description.json") for key, text in line.items()]
    files["value_words.jsonl"] = [*split, {"note": "a line of another kind"}]
    files = {name.replace("test/", "testdata/"): rows for name, rows in files.items()}
    foreign.write_all(tmp_path / "b" / "dataset", files)
    (tmp_path / "b" / "dataset" / "value_words.jsonl").rename(tmp_path / "b" / "value_words.jsonl")
    one = import_layout(tmp_path / "a", "personalitybench", tmp_path / "one").edition
    two = import_layout(tmp_path / "b", "personalitybench", tmp_path / "two")
    assert two.aside["note"] == 1
    assert sorted(map(str, two.edition.descriptions)) == sorted(map(str, one.descriptions))
    splits = [{row["text"]: row["split"] for row in edition.situations} for edition in (one, two.edition)]
    assert splits[0] == splits[1]


# ValueBench


@pytest.mark.parametrize("given", ["", "data", "data/value_orientation.csv"])
def test_valuebench_comes_in_whole(tmp_path, given):
    foreign.valuebench(tmp_path / "theirs")
    made = import_layout(tmp_path / "theirs" / given, "valuebench", tmp_path / "out")
    assert told(made) == []
    edition = load_valueinsight(tmp_path / "out")
    assert edition.fingerprint == made.edition.fingerprint
    assert [
        tuple(row[name] for name in ("source", "text", "value", "weight", "question")) for row in edition.items
    ] == [
        ("OURS1", "I keep lists, of all kinds.", "love_of_order", 1.0, "Should I keep lists, of all kinds?"),
        ("OURS1", "I let things lie.", "love_of_order", -1.0, "Should I let things lie?"),
        ("OURS1", "I let things lie.", "ease", 1.0, "Should I let things lie?"),
        ("OURS2", "I let things lie.", "ease", 1.0, "Should I let things lie?"),
        ("OURS2", "I nap.", "ease", 1.0, "Should I nap?"),
    ]
    items = edition.items["item"]
    assert items[1] == items[2]  # one statement that goes with two values
    assert len(set(items)) == 4
    framework = load_framework(edition.framework)
    assert {value.name: value.title for value in framework.values.values()} == {
        "love_of_order": "Love of Order", "ease": "Ease",
    }  # fmt: skip
    assert check_edition(tmp_path / "out").faults == ()


def test_valuebench_rows_that_do_not_fit_are_listed_by_line(tmp_path):
    """The same row in another spelling of its value is the same row; another keying would turn a score round."""
    path = foreign.valuebench(tmp_path)
    with path.open("a") as file:
        file.write("OURS2,I nap.,EASE,1,Should I nap?\nOURS2,I run.,Ease,2,Should I run?\nOURS2,I run.,Ease,nan,Run?\n")
        file.write("OURS2,I run.,,1,Should I run?\nOURS2,,Ease,1,Should I?\nOURS2,I row.,公平,1,Should I row?\n")
    made = import_layout(path, "valuebench", tmp_path / "out", leave_out=True)
    assert told(made) == [
        (path.name, 7, "duplicate"), (path.name, 8, "wrong label"), (path.name, 9, "wrong label"),
        (path.name, 10, "empty text"), (path.name, 11, "empty text"), (path.name, 12, "wrong label"),
    ]  # fmt: skip
    assert "stands in row 6 too" in made.misfits["items"][0].fault
    assert "agreement must be 1 or -1, '2' given" in made.misfits["items"][1].fault
    assert len(made.edition.items) == 5


def test_valuebench_columns_beyond_ours_are_counted(tmp_path):
    path = foreign.valuebench(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([f"{lines[0]},page", f"{lines[1]},12", *(f"{line}," for line in lines[2:])]))
    assert import_layout(path, "valuebench", tmp_path / "out").aside == {"page": 1}


# Value Portrait


@pytest.mark.parametrize("given", ["", "data/query-response-tagged/query-response-tagged.json"])
def test_valueportrait_comes_in_whole(tmp_path, given):
    foreign.valueportrait(tmp_path / "theirs")
    made = import_layout(tmp_path / "theirs" / given, "valueportrait", tmp_path / "out")
    assert told(made) == []
    edition = load_valueinsight(tmp_path / "out")
    assert edition.framework == "schwartz"
    assert edition.fingerprint == made.edition.fingerprint
    assert [(row["item"], row["value"], row["weight"]) for row in edition.items] == [
        ("7-1", "benevolence", 0.41), ("7-1", "self_direction", -0.33), ("7-1", "self_transcendence", 0.4),
        ("7-1", "conservation", -0.2), ("7-2", None, None), ("8-1", "power", 1.0),
    ]  # fmt: skip
    assert edition.items[0]["query"] == "A boat\n\nShall I sell it?"
    assert edition.items[5]["query"] == "Who should cook?"
    assert edition.items[4]["text"] == "Keep it."
    assert made.aside == {
        "bfi_correlations": 2, "higher_pvq_correlations that stand in correlations too": 1, "topic": 1,
    }  # fmt: skip
    assert check_edition(tmp_path / "out").faults == ()


def test_valueportrait_misfits_name_line_portrait_and_output(tmp_path):
    entries = foreign.portraits()
    first, second = entries
    first["outputs"][0]["correlations"] += [["Power", float("nan")], ["Power", 1.2], ["Kindness", 0.5], "Power"]
    first["outputs"][0]["higher_pvq_correlations"] += [["Self_Transcendence", 0.5]]
    first["outputs"] += [
        {"content": " ", "id": 3},
        {"content": "No id."},
        {"content": "Flat.", "id": 4, "correlations": 1},
    ]
    second["outputs"] += [{"content": "You do.", "id": 1, "correlations": [["Power", 0.1]]}]
    entries += [{"portrait_id": 9, "content": {"text": ""}, "outputs": [{"content": "x", "id": 1}]}, 5]
    path = foreign.valueportrait(tmp_path, entries)
    starts = [
        number for number, line in enumerate(path.read_text().split("\n"), start=1) if line.startswith((" {", " 5"))
    ]
    made = import_layout(path, "valueportrait", tmp_path / "out", leave_out=True)
    faults = [(starts.index(one.number), one.fault) for one in made.misfits["items"]]
    expected = [
        (
            0,
            "portrait 7, output 1: a name and a number from -1 to 1 are expected in correlations, ['Power', nan] given",
        ),
        (
            0,
            "portrait 7, output 1: a name and a number from -1 to 1 are expected in correlations, ['Power', 1.2] given",
        ),
        (0, "portrait 7, output 1: a name and a number from -1 to 1 are expected in correlations, 'Power' given"),
        (0, "portrait 7, output ?: an object with a number for an id is expected"),
        (0, "portrait 7, output 4: correlations must be a list of names with numbers"),
        (0, "portrait 7, output 3: column 'text' must be a text that is not empty"),
        (0, f"portrait 7, output 1: the id '7-1-self_transcendence' stands in row {starts[0]} too"),
        (1, f"portrait 8, output 1: the id '8-1-power' stands in row {starts[1]} too"),
        (2, "portrait 9: an object with portrait_id, content with a text, and outputs is expected"),
        (3, "an object with portrait_id, content with a text, and outputs is expected"),
    ]
    assert sorted(fault for fault in faults if "Kindness" not in fault[1]) == sorted(expected)
    assert sum("portrait 7, output 1: There is no value 'Kindness'" in fault for _, fault in faults) == 1
    assert len(made.edition.items) == 6


# What cannot be read at all


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("personalitybench", lambda f: f / "nowhere", "nowhere does not exist; give the folder"),
        ("personalitybench", lambda f: f / "dataset" / "description.json", "is a file; give the folder"),
        ("personalitybench", lambda f: f / "dataset" / "search", "has no folder search, test or testdata"),
        ("personalitybench", lambda f: rewrite(f, "description.json", None), "no file of descriptions in"),
        ("personalitybench", lambda f: rewrite(f, "copy.jsonl", '{"A_reversed": "x"}'), "two files of descriptions"),
        ("personalitybench", lambda f: rewrite(f, "search/tmp.json", '{"question": "a?"}\n{"qu'), "tmp.json .* line 2"),
        ("personalitybench", lambda f: rewrite(f, "search/tmp.json", '\n["a?"]'), "line 2 is not a JSON object"),
        ("personalitybench", lambda f: rewrite(f, "search/tmp.json", b'{"question": "\xe9?"}'), "utf-8"),
        ("personalitybench", lambda f: rewrite(f, "description.json", b'{"A_reversed": "x"}\n{"A": "\xe9"}'), "utf-8"),
        ("personalitybench", lambda f: rewrite(f, "description.json", '{"A_reversed": "x"}\n{"A'), "line 2"),
        ("valuebench", lambda f: f / "nowhere", "There is no file"),
        ("valuebench", lambda f: f, "There is no file .*value_orientation.csv"),
        ("valuebench", lambda f: rewrite(f, "v.csv", "questionnaire,item,value\na,b,c\n"), "no column 'agreement'"),
        ("valuebench", lambda f: rewrite(f, "v.csv", "questionnaire,item\n"), "has no row"),
        ("valuebench", lambda f: rewrite(f, "v.csv", b"item\n\xe9\n"), "utf-8"),
        ("valuebench", lambda f: rewrite(f, "v.csv", foreign.VALUEBENCH + 'a,"b\n'), "cannot be read"),
        ("valuebench", lambda f: rewrite(f, "v.csv", foreign.VALUEBENCH.splitlines()[0] + "\na,b,c,2,d\n"), None),
        ("valueportrait", lambda f: f, "There is no file .*query-response-tagged.json"),
        ("valueportrait", lambda f: rewrite(f, "p.json", "[]"), "has no entry"),
        ("valueportrait", lambda f: rewrite(f, "p.json", '{"portrait_id": 1}'), r"\[ expected: line 1 column 1"),
        ("valueportrait", lambda f: rewrite(f, "p.json", '[{"a": 1},\n{"a"'), "line 2"),
        ("valueportrait", lambda f: rewrite(f, "p.json", '[{"a": 1}\n{"a": 2}]'), "line 2"),
        ("valueportrait", lambda f: rewrite(f, "p.json", '[{"a": 1}]\n{}'), "behind the array: line 2"),
        ("valueportrait", lambda f: rewrite(f, "p.json", "[" * 100_000), "cannot be read"),
        ("valueportrait", lambda f: rewrite(f, "p.json", b'["\xe9"]'), "utf-8"),
        ("personalitbench", lambda f: f, "did you mean personalitybench"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_clear_sentence(tmp_path, layout, change, message):
    foreign.personalitybench(tmp_path)
    path = change(tmp_path)
    with pytest.raises(NnvalueError, match=message or "None of the items .* fits"):
        import_layout(path, layout, tmp_path / "out", leave_out=True)
    assert not (tmp_path / "out").exists()


def rewrite(folder, name, content):
    """Change one file of the folder `dataset`, and give what is to be imported then."""
    path = folder / "dataset" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path if name in ("v.csv", "p.json") else folder


def test_nothing_but_folders_is_said_so(tmp_path):
    for name in ("search", "test"):
        (tmp_path / name).mkdir()
    with pytest.raises(DatasetError, match="no file of descriptions"):
        import_layout(tmp_path, "personalitybench", tmp_path / "out")
    (tmp_path / "d.json").write_text(json.dumps({"Calm": "a", "Calm_reversed": "b"}))
    with pytest.raises(DatasetError, match="no question in the folders"):
        import_layout(tmp_path, "personalitybench", tmp_path / "out")
    with pytest.raises(UnknownNameError, match="framework"):
        import_layout(tmp_path, "personalitybench", tmp_path / "out", framework="schwarz")


def test_a_trait_of_theirs_is_located(tmp_path, organism):
    """Whatever locating asks of a dataset, one that was imported has it."""
    from nnvalue import locate

    foreign.personalitybench(tmp_path)
    import_layout(tmp_path, "personalitybench", tmp_path / "out")
    found = locate(
        organism, values=("Boldness",), dataset=tmp_path / "out", situations=4, folds=2, max_new_tokens=6, null=False
    )
    assert found.values == ("boldness",)
    assert found.config["counts"]["boldness"]["situations"] == 4
