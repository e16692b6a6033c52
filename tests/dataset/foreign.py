"""Texts of our own in the layouts that other people publish theirs in."""

import json

TRAITS = ("Boldness", "Care for Money")
PAIRS = 12  # a trait


def as_lines(rows):
    return "".join(row + "\n" if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)


def personalitybench(folder):
    """A folder `dataset` in PersonalityBench's layout; as lists of rows, by file, so that a test can change one."""
    people = {"Boldness": ("walks ahead", "stays behind"), "Care for Money": ("saves coins", "spends freely")}
    descriptions = [
        {trait: f" Person {number} {holds}.", f"{trait}_reversed": f"Person {number} {lacks}. "}
        for trait, (holds, lacks) in people.items()
        for number in range(PAIRS)
    ]
    facts = {"BFI": "Boldness", "tag": "Daring", "facet": "Jumps first.", "sign": "+"}
    asked = [
        {**facts, "topic": topic, "question": f"What do you do first {topic}, on day {day}?"}
        for topic in ("at sea", "in town")
        for day in range(3)
    ]
    files = {
        "description.json": descriptions,
        "search/tmp.json": asked,
        "search/Care for Money.json": [{"question": f"What do you buy on day {day}?"} for day in range(4)],
        "test/Boldness.json": [{"question": f"Who leads on day {day}?", "old_data": "Tom leads."} for day in range(3)],
        "test/Care for Money.json": [{"question": f"What is left on day {day}?"} for day in range(2)],
    }
    write_all(folder / "dataset", files)
    return files


def write_all(folder, files):
    for name, rows in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_lines(rows))


VALUEBENCH = """questionnaire,item,value,agreement,question
OURS1,"I keep lists, of all kinds.",Love of Order,1,"Should I keep lists, of all kinds?"
OURS1,I let things lie.,Love Of Order,-1,Should I let things lie?
OURS1,I let things lie.,Ease,1,Should I let things lie?
OURS2,I let things lie.,Ease,1,Should I let things lie?
OURS2,I nap.,Ease,1,Should I nap?
"""


def valuebench(folder):
    """A repository with ValueBench's file, of five rows."""
    (folder / "data").mkdir(parents=True)
    path = folder / "data" / "value_orientation.csv"
    path.write_text(VALUEBENCH)
    return path


def portraits():
    """Entries in Value Portrait's layout: three replies with correlations, one without."""
    first = {
        "content": {"title": "A boat", "text": "Shall I sell it?"},
        "outputs": [
            {
                "content": "Sell it and sail with friends.",
                "id": 1,
                "correlations": [["Benevolence", 0.41], ["Self_Direction", -0.33], ["Self_Transcendence", 0.4]],
                "bfi_correlations": [["Openness", 0.31], ["Neuroticism", -0.4]],
                "higher_pvq_correlations": [["Self_Transcendence", 0.4], ["Conservation", -0.2]],
            },
            {"content": "Keep it.", "id": 2},
        ],
        "portrait_id": 7,
    }
    second = {
        "content": {"title": None, "text": "Who should cook?"},
        "outputs": [{"content": "I do.", "id": 1, "correlations": [["Power", 1]], "topic": "home"}],
        "portrait_id": 8,
    }
    return [first, second]


def valueportrait(folder, entries=None):
    """A repository with Value Portrait's tagged file; an entry starts on line 2, and the next behind the first."""
    path = folder / "data" / "query-response-tagged" / "query-response-tagged.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(portraits() if entries is None else entries, indent=1))
    return path
