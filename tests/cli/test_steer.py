"""`nnvalue steer` as a user types it, against `generate` called by hand."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from nnvalue import generate, load_steering, locate, neuron_steering
from nnvalue.prompts import Prompt
from nnvalue.steering import (
    CombinedSteering,
    ValueDirections,
    direction_steering,
    learn_directions,
    matched_random,
    role_prompt,
    save_steering,
    value_prompt,
)
from tests import tiny
from tests.cli.running import run_here

ASKED = "Your cousin wants to change the family recipe for the holidays. What do you do?"
OTHER = "Who should lead the village fair this year?"
SHORT = ("--max-new-tokens", "24")
STRONG = 12.0


@pytest.fixture(scope="module")
def found(organism, tmp_path_factory):
    out = tmp_path_factory.mktemp("steer") / "run"
    settings = {"values": ("tradition",), "situations": 4, "null": False, "max_new_tokens": 24}
    return locate(organism, **settings, out=out), str(out)


@pytest.fixture
def result(found):
    return ["--neurons", found[1], "--value", "tradition"]


@pytest.fixture
def run(edition, capsys, monkeypatch):
    """Runs the command in this process: (exit status, stdout, stderr)."""

    def running(*arguments, stdin=""):
        monkeypatch.setattr("nnvalue.cli.steer.quiet_libraries", lambda: None)
        monkeypatch.setattr("nnvalue.dataset.load_valueinsight", lambda _: edition)  # opened once
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8"))
        monkeypatch.setenv("COLUMNS", "100")
        return run_here(capsys, monkeypatch, "steer", *arguments)

    return running


@pytest.fixture
def answers(run):
    """Runs it with --json: (the object, its answers' texts)."""

    def running(*arguments, **options):
        code, shown, error = run(*arguments, *SHORT, "--json", **options)
        assert code == 0, error
        data = json.loads(shown)
        return data, [answer["text"] for answer in data["answers"]]

    return running


def by_hand(subject, prompts, steering, **settings):
    return [response.text for response in generate(subject, prompts, steering=steering, max_new_tokens=24, **settings)]


def test_an_answer_stands_beside_the_steered_one(run, answers, result, found, organism):
    data, texts = answers(*result, "--dose", STRONG, ASKED, OTHER)
    steering = neuron_steering(found[0], "tradition", dose=STRONG)
    prompts = [Prompt(text, None, text) for text in (ASKED, ASKED, OTHER, OTHER)]
    assert texts == by_hand(organism, prompts, [None, steering] * 2)
    assert texts[0] != texts[1]
    assert [row["dose"] for row in data["answers"]] == [0.0, STRONG] * 2
    assert data["answers"][1] == {
        "id": ASKED, "system": None, "prompt": ASKED, "arm": "steered", "dose": STRONG, "text": texts[1],
        "finished": data["answers"][1]["finished"], "tokens": data["answers"][1]["tokens"],
    }  # fmt: skip
    assert data["steering"] == json.loads(json.dumps(steering.describe()))
    assert (data["doses"], data["sampling"], data["model"]) == ([STRONG], None, organism.identity())
    code, shown, _ = run(*result, "--dose", STRONG, ASKED, "--max-new-tokens", 4)
    assert code == 0
    assert re.search(r"unsteered +steered, dose 12", shown)
    cut = by_hand(organism, [ASKED], None)[0][:8]
    assert ASKED in shown
    assert cut in shown
    assert " …" in shown
    assert "52 neurons, mode effect" in " ".join(shown.split())


def test_dose_0_is_the_answer_as_it_is(answers, result):
    _, texts = answers(*result, "--dose", 0, "--describe", "power", ASKED)
    assert texts[0] == texts[1]


def test_a_sweep_has_a_row_for_each_dose_and_prompt(run, answers, result, found, organism):
    line = (*result, "--dose-sweep", "-6:6:6", "--mode", "npti", "--pole", "negative", "--top", "20")
    data, texts = answers(*line, ASKED, OTHER)
    steering = neuron_steering(found[0], "tradition", "negative", mode="npti", top=20)
    prompts = [Prompt(text, None, text) for text in (ASKED, OTHER) for _ in range(3)]
    assert texts == by_hand(organism, prompts, [steering.at(dose) for dose in (-6, 0, 6)] * 2)
    assert data["doses"] == [-6.0, 0.0, 6.0] == [row["dose"] for row in data["answers"]][:3]
    code, shown, _ = run(*line, ASKED, OTHER, *SHORT)
    assert code == 0
    assert re.findall(r"^ +(-?\d)  \w", shown, re.MULTILINE) == ["-6", "0", "6"] * 2


def test_grids_are_exact(answers, run, result):
    assert answers(*result, "--dose-sweep", "-.1:.35:.1", ASKED)[0]["doses"] == [-0.1, 0.0, 0.1, 0.2, 0.3]
    assert answers(*result, "--dose-sweep", "1:1:5", ASKED)[0]["doses"] == [1.0]


def test_the_control_is_the_matched_random_one(answers, result, found, organism):
    data, texts = answers(*result, "--dose", STRONG, "--control", "--seed", 3, "--scope", "all", ASKED)
    steering = neuron_steering(found[0], "tradition", dose=STRONG, scope="all")
    control = matched_random(steering, organism.anatomy.width, 3)
    assert texts == by_hand(organism, [Prompt("", None, ASKED)] * 3, [None, steering, control])
    assert [row["arm"] for row in data["answers"]] == ["unsteered", "steered", "random neurons"]


@pytest.mark.parametrize("where", ["file", "stdin"])
def test_prompts_come_one_a_line(answers, result, tmp_path, where):
    text = f"{ASKED}\n\n  {OTHER}\r\n{ASKED}\n"
    (tmp_path / "asked.txt").write_text("\ufeff" + text, encoding="utf-8")
    source = "-" if where == "stdin" else tmp_path / "asked.txt"
    data, _ = answers(*result, "--prompts", source, stdin=text)
    assert [(row["id"], row["prompt"]) for row in data["answers"][::2]] == [
        (ASKED, ASKED), (OTHER, OTHER), (f"{ASKED} #2", ASKED)
    ]  # fmt: skip


def test_prompts_come_as_objects(run, answers, result, tmp_path, organism):
    rows = [{"id": "a", "user": ASKED, "system": "Be brief."}, {"user": ASKED}, {"id": None, "user": OTHER}]
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data, texts = answers(*result, "--prompts", tmp_path / "asked.jsonl")
    assert [row["id"] for row in data["answers"][::2]] == ["a", ASKED, OTHER]
    prompts = [Prompt("a", "Be brief.", ASKED), Prompt("b", None, ASKED), Prompt("c", None, OTHER)]
    assert texts[::2] == by_hand(organism, prompts, None)
    assert "Be brief." in run(*result, "--prompts", tmp_path / "asked.jsonl", *SHORT)[1]


def test_words_are_said_at_every_dose_but_0(answers, result, found, organism, edition):
    described = value_prompt(edition, "tradition", role="a person who likes a joke", seed=5)
    words = ("--describe", "tradition", "--role", "a person who likes a joke", "--seed", 5)
    _, texts = answers(*words, "--pole", "positive", ASKED)
    assert texts[1] == by_hand(organism, [ASKED], described)[0]
    data, texts = answers(*result, *words, "--dose-sweep", "-8:8:8", ASKED)
    inside = neuron_steering(found[0], "tradition")
    by_dose = [CombinedSteering((described.at(sign), inside.at(8 * sign))) for sign in (-1, 1)]
    wanted = by_hand(organism, [Prompt("", None, ASKED)] * 3, [by_dose[0], None, by_dose[1]])
    assert texts == wanted
    assert [part["dose"] for part in data["steering"]["parts"]] == [1.0, 8.0]
    data, _ = answers("--describe", "power", "--dose", -1, ASKED)
    assert data["steering"]["system"] == value_prompt(edition, "power").back
    named = edition.roles[0]
    assert named["text"] in answers("--role", named["id"], ASKED)[0]["steering"]["system"]


def test_a_direction_is_learned_from_the_result(answers, result, found, organism, tmp_path):
    learned = learn_directions(organism, found[0], ("tradition",), place="mlp_out")
    steering = direction_steering(learned, "tradition", dose=2, layers=(2, 3))
    wanted = by_hand(organism, [ASKED], steering)[0]
    along = ("--layers", "2,3", "--dose", 2, ASKED)
    assert answers(*result, "--direction", "mlp_out", *along)[1][1] == wanted
    learned.save(tmp_path / "directions")
    assert ValueDirections.load(tmp_path / "directions").place == "mlp_out"
    data, texts = answers("--directions", tmp_path / "directions", "--value", "tradition", "--goal", "0.9", *along)
    assert texts[1] == by_hand(organism, [ASKED], direction_steering(
        learned, "tradition", dose=2, layers=(2, 3), goal=0.9
    ))[0]  # fmt: skip
    assert data["steering"]["goal"] == 0.9


def test_a_saved_steering_steers_at_its_dose(run, answers, result, found, tmp_path):
    kept = tmp_path / "kept"
    code, shown, _ = run(*result, "--dose", STRONG, "--describe", "power", "--save", kept)
    assert (code, load_steering(kept).dose) == (0, STRONG)
    assert f"Saved to {kept}." in shown.replace("\n", "")
    data, texts = answers("--steering", kept, ASKED)
    assert texts == answers(*result, "--dose", STRONG, "--describe", "power", ASKED)[1]
    assert data["doses"] == [STRONG]
    save_steering(neuron_steering(found[0], "tradition", dose=3), tmp_path / "plain")
    data, _ = answers("--steering", tmp_path / "plain", "--control", ASKED)
    assert data["doses"] == [3.0]


def test_drawn_tokens_follow_the_seed(answers, result, found, organism):
    drawn = ("--temperature", 1, "--top-k-tokens", 50, "--top-p", 0.9, "--seed", 4)
    data, texts = answers(*result, *drawn, ASKED)
    settings = {"temperature": 1.0, "top_k": 50, "top_p": 0.9, "seed": 4}
    assert data["sampling"] == settings
    steering = neuron_steering(found[0], "tradition")
    assert texts == by_hand(organism, [Prompt(ASKED, None, ASKED)] * 2, [None, steering], **settings)


def test_a_conversation_streams_what_generate_gives(run, result, found, organism):
    said = [ASKED, "/dose 8", OTHER, "/plain", "", ASKED, "/reset", "/plain", ASKED, "/dose 0", "/quit", OTHER]
    code, shown, told = run(*result, *SHORT, "--chat", stdin="\n".join(said))
    steering, history, wanted = neuron_steering(found[0], "tradition"), (), []
    for line, arm in ((ASKED, steering), (OTHER, steering.at(8)), (ASKED, None), (ASKED, steering.at(8))):
        history = () if len(wanted) == 3 else history
        wanted += by_hand(organism, [Prompt(line, None, line, history)], arm)
        history = (*history, (line, wanted[-1]))
    assert (code, shown.splitlines()) == (0, wanted)
    assert len(set(wanted)) > 1
    assert told.count("> ") == 11
    assert told.count("Steered at dose 8") == 2
    assert "Not steered." in told


def test_a_conversation_goes_on_after_a_slip_and_ends_with_the_input(run, result):
    slips = ["/bar", "/dose", "/dose much", "/dose nan", "word " * 1100, ASKED]
    code, shown, told = run(*result, *SHORT, "--chat", stdin="\n".join(slips))
    assert code == 0
    for sentence in (
        "There is no command '/bar'", "There is no command '/dose'", "A dose is a number, 'much' given",
        "A dose is a finite number, nan given", "the model has room for 1024",
    ):  # fmt: skip
        assert told.count(sentence) == 1
    assert told.count("Error: ") == 5
    assert len(shown.splitlines()) == 1
    long = "\n".join(f"{number} {'word ' * 150}" for number in range(9))
    code, shown, told = run(*result, "--max-new-tokens", 4, "--chat", stdin=long)
    assert (code, len(shown.splitlines())) == (0, 9)
    assert told.count("the model's 1,024 tokens; its oldest exchanges are left out") == 1


def test_a_rehearsal_answers_in_one_piece(run, result, found, organism):
    code, shown, _ = run(*result, *SHORT, "--chat", "--host", "dry-run", stdin=ASKED)
    assert (code, shown.splitlines()) == (0, by_hand(organism, [ASKED], neuron_steering(found[0], "tradition")))


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("--neurons nowhere --value tradition hi", 1, "There is no result folder nowhere"),
        ("--neurons RUN --value traditoin hi", 1, "There is no value 'traditoin'; did you mean tradition?"),
        ("--neurons RUN --value traditoin --direction residual hi", 1, "did you mean tradition?"),
        ("--neurons RUN hi", 2, "Which value? Give --value, one of tradition."),
        ("hi", 2, "Nothing steers; give --neurons RESULT"),
        ("--neurons RUN --steering x hi", 2, "--neurons and --steering are two sources; give one of them."),
        ("--steering nowhere hi", 1, "There is no steering 'nowhere'"),
        ("--directions nowhere --value power hi", 1, "There is no result folder nowhere"),
        ("OF", 2, "No prompt; write one on the line, or give --prompts FILE or --chat."),
        ("OF --chat hi", 2, "are three ways to ask; take one of them"),
        ("OF --prompts x --chat", 2, "are three ways to ask; take one of them"),
        ("OF --chat --json", 2, "--json is no part of a conversation"),
        ("OF --chat --dose-sweep 0:1:1", 2, "--dose-sweep is no part of a conversation"),
        ("OF --chat --control", 2, "--control is no part of a conversation"),
        ("OF --dose 1 --dose-sweep 0:1:1 hi", 2, "--dose is about one dose; leave it out, or --dose-sweep."),
        ("OF --save x --dose-sweep 0:1:1 hi", 2, "--save is about one dose"),
        ("OF --dose nan hi", 1, "A dose is a finite number, nan given"),
        ("OF --dose much hi", 2, "'much' is not a valid float"),
        ("OF --mode gain --dose inf hi", 1, "A dose is a finite number, inf given"),
        ("OF --mode ablate --dose 2 hi", 1, "The dose of 'set' is a share of at most 1, 2 given"),
        ("OF --dose-sweep 0:1 hi", 2, "'0:1' is not start:stop:step, three numbers such as -2:2:0.5."),
        ("OF --dose-sweep a:1:1 hi", 2, "'a:1:1' is not start:stop:step"),
        ("OF --dose-sweep 0:1:0 hi", 2, "needs finite numbers, a step above 0 and a stop not below the start"),
        ("OF --dose-sweep 1:0:1 hi", 2, "needs finite numbers, a step above 0 and a stop not below the start"),
        ("OF --dose-sweep 0:nan:1 hi", 2, "needs finite numbers"),
        ("OF --dose-sweep 0:1:1e-9 hi", 2, "has more than 200 doses; take a larger step"),
        ("OF --mode npit hi", 1, "There is no mode 'npit'; did you mean npti?"),
        ("OF --top 0 hi", 1, "top is a share below 1 or a whole number of neurons, 0 given"),
        ("OF --goal .9 hi", 2, "--goal goes with --direction or --directions; give it too, or leave --goal out."),
        ("OF --direction residual --mode npti hi", 2, "--mode is about single neurons; leave it out, or --direction."),
        ("OF --direction residual --factor 0 hi", 2, "--factor is about single neurons"),
        ("OF --direction residual --control hi", 2, "--control is about single neurons"),
        ("OF --direction residual --layers 2,x hi", 2, "'2,x' is no list of whole numbers such as 2,3."),
        ("OF --direction residual --layers 9 hi", 1, "There is no layer 9; the model has 5"),
        ("--describe power --control hi", 2, "--control goes with --neurons or --steering"),
        ("--steering WORDS --control hi", 2, "--control draws other neurons; leave it out"),
        ("--describe power --value power hi", 2, "--value goes with --neurons or --directions"),
        ("--describe powr hi", 1, "There is no value 'powr'; did you mean power"),
        ("--describe power --dose 8 hi", 1, "A prompt is said or not; its dose is 1, 0 or -1, 8 given"),
        ("--role r0-1 hi", 1, "There is no role 'r0-1' in ValueInsight edition 1; nnvalue data show"),
        ("OF --dataset valueinsight hi", 2, "--dataset goes with --describe or --role"),
        ("OF --temperature 0 hi", 1, "The temperature must be a number above 0"),
        ("OF --top-p .5 hi", 1, "give a temperature too"),
        ("OF --max-new-tokens 0 hi", 1, "max_new_tokens=0 given"),
        ("OF --model TINY hi", 1, "This was found in 'nnvalue/organism', not in 'tiny'"),
        ("OF --timeout 5 hi", 2, "--timeout is about a server"),
        ("OF --prompts nowhere.txt", 1, "The prompts 'nowhere.txt' cannot be read: No such file or directory."),
        ("OF --prompts empty.txt", 1, "There is no prompt in empty.txt; one a line is expected"),
        ("OF --prompts -", 1, "There is no prompt in stdin"),
        ("OF --prompts bytes.txt", 1, "it is no text in UTF-8"),
        ("OF --prompts odd.jsonl", 1, "Line 2 of odd.jsonl must be a JSON object of texts"),
        ("OF --prompts typo.jsonl", 1, "Line 1 of typo.jsonl must be a JSON object of texts"),
        ("OF --prompts twice.jsonl", 1, "Two prompts of twice.jsonl have the id 'a'"),
        ("OF EMPTY", 1, "An empty prompt was given"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_sentence(run, found, tmp_path, monkeypatch, line, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x80")
    (tmp_path / "odd.jsonl").write_text('{"user": "x"}\n{"user": 3}\n')
    (tmp_path / "typo.jsonl").write_text('{"user": "x", "sytem": "y"}\n')
    (tmp_path / "twice.jsonl").write_text('{"id": "a", "user": "x"}\n{"id": "a", "user": "y"}\n')
    if "WORDS" in line:
        save_steering(role_prompt("a kind person"), tmp_path / "words")
    if "TINY" in line:
        tiny.save(tmp_path / "tiny")
    words = {"RUN": [found[1]], "OF": ["--neurons", found[1], "--value", "tradition"], "EMPTY": [" "],
             "WORDS": ["words"], "TINY": ["tiny"]}  # fmt: skip
    ended, shown, error = run(*(part for word in line.split() for part in words.get(word, [word])))
    assert ended == code
    assert message in error
    assert "Traceback" not in error
    assert shown == "" if "--json" not in line else message in json.loads(shown)["error"]["message"]
    assert not (tmp_path / "x").exists()


def test_control_c_stops_an_answer_and_then_the_conversation(result):
    line = [*result, "--dose", "16", "--max-new-tokens", "900", "--chat"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nnvalue", "steer", *line], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    process.stdin.write(f"{ASKED}\n")
    process.stdin.flush()
    began = process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    process.stdin.write(f"/reset\n/dose 0\n{ASKED}\n")
    process.stdin.flush()
    stopped, answered = (process.stdout.readline() for _ in range(2))
    assert len(began + stopped) < 3000
    assert answered.rstrip().endswith(".")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "(stopped)" in told
    assert told.endswith(("> \nStopped.\n", "> Stopped.\n"))
    assert "Traceback" not in told


def test_control_c_while_it_answers_is_130(run, result, monkeypatch):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("nnvalue.steering.generate", interrupted)
    code, shown, error = run(*result, ASKED)
    assert (code, shown) == (130, "")
    assert error.endswith("Stopped.\n")
    assert "Traceback" not in error


def test_help_needs_no_torch():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "nnvalue", "steer", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--dose-sweep" in done.stdout
    assert not re.search(r"\| +(torch|transformers|rich|numpy)\b", done.stderr)
