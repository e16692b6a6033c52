"""A new edition end to end: what is taken, what becomes of the rest, and that faults and kills change nothing."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from nnvalue.builder import BuildConfig, build_edition
from nnvalue.builder.answers import items_of
from nnvalue.builder.config import DOMAINS
from nnvalue.builder.slots import plan_slots
from nnvalue.dataset import check_edition, load_valueinsight
from nnvalue.errors import ArtifactError, DatasetError, InvalidInputError, RemoteError, UnreachableError
from nnvalue.llm import Endpoint, EndpointOptions, FromFunction, Reply
from nnvalue.llm import endpoint as endpoint_module
from nnvalue.values import load_framework
from tests.builder import scribe
from tests.llm.openai_double import Say, serving

SMALL = {"descriptions": 5, "situations": 20, "sentences": 4, "portraits": 4, "per_request": 4}


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(scribe.FRAMEWORK)
    return path


class Scribe(FromFunction):
    """Counts what it is asked."""

    def __init__(self, change=lambda text, prompt: text):
        self.asked = []

        def write(request):
            prompt = request.messages[-1][1]
            self.asked.append(prompt)
            return change(scribe.answer(prompt, request.sample), prompt)

        super().__init__(write, "scribe")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def hash_of(text):
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_edition_has_what_was_asked_for_and_no_faults(tmp_path, mine):
    built = build_edition(Scribe(), mine, tmp_path / "out", BuildConfig(**SMALL))
    report = check_edition(tmp_path / "out")
    assert report.faults == ()
    situations = list(built.edition.situations)
    assert Counter(row["value"] for row in situations) == {"thrift": 20, "joy": 20}
    assert Counter(row["domain"] for row in situations) == dict.fromkeys(DOMAINS, 4)
    for value in ("thrift", "joy"):
        own = [row for row in situations if row["value"] == value]
        assert sum(row["split"] == "test" for row in own) == 6
        assert sum(row["second_value"] is not None for row in own) == 6
        assert {row["second_value"] for row in own} - {None} == {"joy" if value == "thrift" else "thrift"}
    assert len(built.edition.descriptions) == 2 * 2 * 5
    assert len(built.edition.sentences) == 2 * 4
    assert len(built.edition.portraits) == 2 * 2 * 4
    assert not (tmp_path / "out.work").exists()


def test_everything_that_was_said_is_taken_or_put_aside_with_a_reason(tmp_path, mine):
    built = build_edition(Scribe(), mine, tmp_path / "out", BuildConfig(**SMALL))
    log, rejected = lines(tmp_path / "out" / "answers.jsonl"), lines(tmp_path / "out" / "rejected.jsonl")
    taken = Counter()
    for row in built.edition.situations:
        taken[row["text"]] += 1
    for row in built.edition.sentences:
        taken[row["positive"]] += 1
    for table, pole in (("descriptions", "pole"), ("portraits", "keying")):
        taken.update(row["text"] for row in getattr(built.edition, table) if row[pole] == "positive")
    aside = Counter(next(iter(line["item"].values())) for line in rejected if line["item"])
    said = Counter()
    for line in log:
        fields = line["request"]["schema"]["properties"]["items"]["items"]["required"]
        said.update(item[fields[0]] for item in items_of(line["reply"]["text"], fields)[0])
    assert taken + aside == said
    assert sum(built.rejected.values()) == len(rejected)
    assert {"praises or blames", "a wrong number of words"} <= set(built.rejected)
    assert {line["answer"] for line in rejected} <= {line["key"] for line in log}
    facts = json.loads((tmp_path / "out" / "build.json").read_text())
    assert facts["settings"]["seed"] == 0
    assert facts["requests"] == len(log)


def test_the_same_settings_and_answers_give_the_same_files_and_another_seed_others(tmp_path, mine):
    for name in ("one", "other"):
        build_edition(Scribe(), mine, tmp_path / name, BuildConfig(**SMALL), name="mine")
    one, other = contents(tmp_path / "one"), contents(tmp_path / "other")
    assert one == other
    build_edition(Scribe(), mine, tmp_path / "seeded", BuildConfig(**SMALL, seed=1), name="mine")
    assert contents(tmp_path / "seeded")["situations.parquet"] != one["situations.parquet"]


def test_a_finished_edition_is_not_made_again_and_a_larger_one_uses_its_answers(tmp_path, mine):
    scribbler = Scribe()
    first = build_edition(scribbler, mine, tmp_path / "out", BuildConfig(**SMALL))
    spent = len(scribbler.asked)
    again = build_edition(scribbler, mine, tmp_path / "out", BuildConfig(**SMALL))
    assert len(scribbler.asked) == spent
    assert again.edition.fingerprint == first.edition.fingerprint
    assert again.rejected == first.rejected
    larger = BuildConfig(**{**SMALL, "sentences": 6})
    with pytest.raises(ArtifactError, match="--overwrite"):
        build_edition(scribbler, mine, tmp_path / "out", larger)
    built = build_edition(scribbler, mine, tmp_path / "out", larger, overwrite=True)
    assert built.usage.from_log > 20
    assert len(built.edition.sentences) == 12
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").write_text("")
    with pytest.raises(ArtifactError, match="no dataset"):
        build_edition(scribbler, mine, tmp_path / "else", BuildConfig(**SMALL), overwrite=True)


def broken(text, prompt):
    """Answers as models garble them, by turns."""
    turn = len(text) % 6
    return {
        0: text,
        1: f"Sure! Here you are:\n```json\n{text}\n```\nAnything else?",
        2: text[: 2 * len(text) // 3],  # broken off at the length limit
        3: text.replace('"items"', '"texts"'),
        4: text.replace("}, {", "}, 7, {"),
        5: text[text.index("[") :] if '"positive"' in text else re.sub(r'{"text": ("[^"]*")}', r"\1", text),
    }[turn]


def test_garbled_answers_lose_what_is_garbled_and_nothing_else(tmp_path, mine):
    built = build_edition(Scribe(broken), mine, tmp_path / "out", BuildConfig(**SMALL))
    assert check_edition(tmp_path / "out").faults == ()
    assert built.rejected["broken off at"] > 2
    assert built.rejected["an item without positive and negative"] > 0
    details = [line["detail"] for line in lines(tmp_path / "out" / "rejected.jsonl") if line["item"] is None]
    assert any(detail.startswith("broken off at: {") for detail in details)


@pytest.mark.parametrize(
    ("answer", "items", "faults"),
    [
        ('{"items": [{"text": "a"}, {"text": " b  c "}]}', ["a", "b c"], 0),
        ('[{"text": "a"}]', ["a"], 0),
        ('["a", "b"]', ["a", "b"], 0),
        ('x {"items": [{"text": "a [b]"}], "n": 1} y', ["a [b]"], 0),
        ('{"items": [{"text": "a"}, {"text": "b', ["a"], 1),
        ('{"items": [{"text": "a"}, {"txt": "b"}, {"text": ""}, null]}', ["a"], 3),
        ('{"items": []}', [], 0),
        ("I would rather not.", [], 1),
        ('[sure] {"note": "[1]", "items": [{"text": "a"}]}', ["a"], 0),
        ("", [], 1),
        ("[" * 100_000, [], 1),
    ],
)
def test_what_is_read_from_an_answer(answer, items, faults):
    found, wrong = items_of(answer, ("text",))
    assert [item["text"] for item in found] == items
    assert len(wrong) == faults


def test_refusals_are_counted_and_more_is_asked_for(tmp_path, mine):
    def refuse(text, prompt):
        return Reply("refused", reason="I'd rather not") if "sentences" in prompt and hash_of(text) % 2 else text

    built = build_edition(Scribe(refuse), mine, tmp_path / "out", BuildConfig(**SMALL))
    assert built.rejected["refused"] == built.usage.refused > 0
    assert built.usage.answered + built.usage.refused == built.usage.asked
    assert len(built.edition.sentences) == 8


def test_a_writer_that_cannot_is_told_so_and_its_answers_serve_a_second_try(tmp_path, mine):
    def poor(text, prompt):
        return text.replace("What", "So what not").replace("?", ".") if '"money"' in prompt else text

    scribbler = Scribe(poor)
    config = BuildConfig(**SMALL, rounds=2)
    with pytest.raises(DatasetError, match=r"After 2 requests 0 of 1 situations of '\w+' \(money\)") as caught:
        build_edition(scribbler, mine, tmp_path / "out", config)
    assert "does not end with a question" in str(caught.value)
    assert "--rounds" in str(caught.value)
    assert not (tmp_path / "out").exists()
    spent = len(scribbler.asked)
    with pytest.raises(DatasetError):
        build_edition(scribbler, mine, tmp_path / "out", config)
    assert len(scribbler.asked) == spent
    with pytest.raises(DatasetError, match="After 3 requests"):
        build_edition(scribbler, mine, tmp_path / "out", BuildConfig(**SMALL, rounds=3))
    assert len(scribbler.asked) < spent + 8


def test_a_second_run_is_refused_and_leaves_the_first_ones_answers(tmp_path, mine):
    out, met = tmp_path / "out", []

    def meanwhile(text, prompt):
        if not met:  # nothing is answered yet
            with pytest.raises(ArtifactError, match="Another run") as caught:
                build_edition(Scribe(), mine, out, BuildConfig(**SMALL))
            met.append(caught)
        if len(met) > 8:
            raise KeyboardInterrupt
        met.append(text)
        return text

    scribbler = Scribe(meanwhile)
    with pytest.raises(KeyboardInterrupt):
        build_edition(scribbler, mine, out, BuildConfig(**SMALL))
    assert len(lines(tmp_path / "out.work" / "answers.jsonl")) == 8


def test_a_finished_edition_leaves_the_answers_of_another_one_alone(tmp_path, mine):
    out, work = tmp_path / "out", tmp_path / "out.work"
    build_edition(Scribe(), mine, out, BuildConfig(**SMALL))
    assert not work.exists()

    def stopping(text, prompt):
        if '"travel"' in prompt:
            raise KeyboardInterrupt
        return text

    larger = BuildConfig(**{**SMALL, "situations": 30})
    with pytest.raises(KeyboardInterrupt):
        build_edition(Scribe(stopping), mine, out, larger, overwrite=True)
    kept = (work / "answers.jsonl").read_bytes()
    assert kept
    assert build_edition(Scribe(), mine, out, BuildConfig(**SMALL)).usage.asked == 0
    assert (work / "answers.jsonl").read_bytes() == kept


def test_halves_of_letters_and_line_breaks_of_texts_stop_nothing(tmp_path, mine):
    def odd(text, prompt):
        if '"travel"' in prompt and "emoji" not in seen:
            seen.add("emoji")
            return text.replace("What", "\\ud83d What")
        if '"money"' in prompt and "refused" not in seen:
            seen.add("refused")
            return Reply("refused", reason="no\u2028more")
        return text

    seen = set()
    built = build_edition(Scribe(odd), mine, tmp_path / "out", BuildConfig(**SMALL))
    assert seen == {"emoji", "refused"}
    assert not check_edition(tmp_path / "out").faults
    assert build_edition(Scribe(odd), mine, tmp_path / "out", BuildConfig(**SMALL)).rejected == built.rejected


def test_an_edition_has_the_framework_that_it_was_written_for(tmp_path, mine):
    before = mine.read_text()

    def editing(text, prompt):
        mine.write_text(before.replace("thrift", "parsimony"))
        return text

    build_edition(Scribe(editing), mine, tmp_path / "out", BuildConfig(**SMALL))
    assert (tmp_path / "out" / "framework.yaml").read_text() == before
    assert not check_edition(tmp_path / "out").faults


def test_a_model_that_speaks_no_json_is_told_apart(tmp_path, mine, organism):
    from nnvalue.llm import LocalModel

    config = BuildConfig(descriptions=1, situations=1, domains=("work",), rounds=1, max_tokens=20)
    with pytest.raises(DatasetError, match="no list of items"):
        build_edition(LocalModel(organism), mine, tmp_path / "out", config)


def test_unanswered_requests_stop_the_build_until_they_are_answered_or_given_up(tmp_path, mine):
    trouble = {"on": True}

    def failing(text, prompt):
        return Reply.failed("HTTP 500") if trouble["on"] and '"travel"' in prompt else text

    scribbler = Scribe(failing)
    for _ in range(2):
        with pytest.raises(RemoteError, match=r"of \d+ requests stayed unanswered .*HTTP 500"):
            build_edition(scribbler, mine, tmp_path / "out", BuildConfig(**SMALL))
    spent = len(scribbler.asked)
    assert Counter(scribbler.asked).most_common(1)[0][1] == 2  # only what failed is asked again
    assert all('"travel"' in prompt for prompt, count in Counter(scribbler.asked).items() if count > 1)
    with pytest.raises(DatasetError, match="travel"):
        build_edition(scribbler, mine, tmp_path / "out", BuildConfig(**SMALL, rounds=2), despite_failures=True)
    trouble["on"] = False
    built = build_edition(scribbler, mine, tmp_path / "out", BuildConfig(**SMALL))
    assert built.usage.failed == 0
    untroubled = build_edition(Scribe(), mine, tmp_path / "untroubled", BuildConfig(**SMALL))
    assert built.edition.fingerprint == untroubled.edition.fingerprint
    assert len(scribbler.asked) > spent


def test_slots_spread_evenly_over_facets_and_domains():
    framework = load_framework("moral_foundations")
    slots = plan_slots(framework, BuildConfig(descriptions=10, situations=13, domains=DOMAINS[:5], dilemmas=0.5))
    per_facet = Counter()
    for slot in slots:
        if slot.kind == "descriptions":
            per_facet[slot.facet] += slot.wanted
    assert set(per_facet.values()) == {2, 3}
    assert len(per_facet) == len(framework.facets)
    for value in framework.values:
        own = [slot for slot in slots if slot.kind == "situations" and slot.value == value]
        assert sum(slot.wanted for slot in own) == 13
        assert sum(slot.wanted for slot in own if slot.second_value) == 6
        assert all(slot.second_value != value for slot in own)
    domains = Counter()
    for slot in slots:
        domains[slot.domain] += slot.wanted * (slot.kind == "situations")
    assert domains.most_common()[0][1] - domains.most_common(5)[-1][1] <= 1


def test_settings_that_cannot_be_right():
    for bad in ({"situations": 0}, {"dilemmas": 2}, {"domains": ("a", "a")}, {"domains": ()}, {"rounds": 0},
                {"language": " "}, {"per_request": 0}):  # fmt: skip
        with pytest.raises(InvalidInputError):
            BuildConfig(**bad)


def test_another_language_is_asked_for_and_not_held_to_english_rules(tmp_path, mine):
    asked = []

    def write(request):
        prompt = request.messages[-1][1]
        asked.append(prompt)
        text = scribe.answer(prompt, request.sample, faulty=0)
        return text.replace("What do", "¿No crees, what do").replace("at home", "nunca at home")

    config = BuildConfig(descriptions=4, situations=6, language="Spanish")
    built = build_edition(FromFunction(write, "escriba"), mine, tmp_path / "out", config)
    assert all("Write in Spanish." in prompt for prompt in asked)
    assert not {"a negation", "praises or blames"} & set(built.rejected)
    assert load_valueinsight(tmp_path / "out").language == "Spanish"
    assert not check_edition(tmp_path / "out").faults  # which looks for no English negation either


FAULTS = (
    Say(status=429, headers={"Retry-After": "0.02"}), Say(status=500), Say(status=503), Say(pause=0.5), Say(cut=40),
    Say(body=b'{"choices": [{"message"'), Say(body=b"<html>"), Say(status=502, body=b"bad gateway"),
)  # fmt: skip


def by_scribe(body, times):
    return Say(scribe.answer(scribe.said(body), body["seed"]))


def faulty(body, times):
    """Every third request or so meets one fault after the other before it is answered."""
    mark = sum(map(ord, scribe.said(body))) + 7 * body["seed"]
    return FAULTS[(mark + times) % len(FAULTS)] if mark % 3 == 0 and times < 4 else by_scribe(body, times)


def test_a_server_with_every_fault_gives_the_same_edition(tmp_path, mine, monkeypatch):
    monkeypatch.setattr(endpoint_module, "_FIRST_PAUSE", 0.005)
    built = {}
    for name, script in (("sound", by_scribe), ("faulty", faulty)):
        with serving(script) as server:
            endpoint = Endpoint(server.url, "scribe", options=EndpointOptions(timeout=0.3, concurrency=4))
            built[name] = build_edition(endpoint, mine, tmp_path / name, BuildConfig(**SMALL))
            usage = built[name].usage
            assert usage.asked == usage.answered + usage.refused + usage.failed == len(server.times)
    assert max(server.times.values()) == 4
    assert built["faulty"].edition.fingerprint == built["sound"].edition.fingerprint
    assert check_edition(tmp_path / "faulty").faults == ()


def test_a_server_that_goes_away_halfway_is_gone_on_with(tmp_path, mine, monkeypatch):
    monkeypatch.setattr(endpoint_module, "_FIRST_PAUSE", 0.005)
    state = {"left": 15}

    def script(body, times):
        state["left"] -= 1
        return by_scribe(body, times) if state["left"] > 0 else Say(status=503)

    with serving(script) as server:
        endpoint = Endpoint(server.url, "scribe", options=EndpointOptions(attempts=2, concurrency=2))
        with pytest.raises((UnreachableError, RemoteError)):
            build_edition(endpoint, mine, tmp_path / "out", BuildConfig(**SMALL))
        state["left"] = 10_000
        answered = {line["key"] for line in lines(tmp_path / "out.work" / "answers.jsonl")}
        built = build_edition(endpoint, mine, tmp_path / "out", BuildConfig(**SMALL))
        assert built.usage.from_log >= 14
        assert answered
        assert check_edition(tmp_path / "out").faults == ()


def command(mine, out, url, *more):
    sizes = [part for name in ("descriptions", "situations", "sentences", "portraits", "per_request")
             for part in (f"--{name.replace('_', '-')}", str(SMALL[name]))]  # fmt: skip
    place = ["--framework", str(mine), "--out", str(out), "--endpoint", url, "--llm", "scribe", "--concurrency", "4"]
    return [sys.executable, "-m", "nnvalue", "data", "build", *place, *sizes, *more]


def test_killed_at_any_moment_nothing_answered_is_lost_or_asked_for_twice(tmp_path, mine):
    rng = random.Random(0)
    with serving(lambda body, times: Say(scribe.answer(scribe.said(body), body["seed"]), pause=0.03)) as server:
        log, kept, target = tmp_path / "out.work" / "answers.jsonl", {}, 0
        for _ in range(6):
            target = len(server.asked) + rng.randint(1, 8)
            run = subprocess.Popen(command(mine, tmp_path / "out", server.url), stdout=subprocess.DEVNULL)
            while len(server.asked) < target and run.poll() is None:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.03))
            run.send_signal(signal.SIGKILL)
            run.wait()
            whole = log.read_bytes().rpartition(b"\n")[0].splitlines()
            now = {line["key"]: line["reply"] for line in map(json.loads, whole)}
            assert kept.items() <= now.items()  # nothing that was there is gone
            kept = now
        asked_before = Counter(server.times)
        kept_prompts = {json.loads(line)["request"]["messages"][-1][1] for line in whole}
        done = subprocess.run(command(mine, tmp_path / "out", server.url), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for body in server.asked[sum(asked_before.values()) :]:
            assert scribe.said(body) not in kept_prompts  # what was kept is not asked for again
        # Asked twice is only what was under way at a kill: at most four at each of six.
        assert sum(server.times.values()) - len(server.times) <= 4 * 6
        assert not (tmp_path / "out.work").exists()
        through = subprocess.run(command(mine, tmp_path / "through", server.url, "--name", "out"), capture_output=True)
        assert through.returncode == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "through")
    assert load_valueinsight(tmp_path / "out").values() == ("thrift", "joy")


def test_the_key_is_in_nothing_that_is_printed_or_written(tmp_path, mine):
    key = "sk-sentinel-9876543210"

    def script(body, times):  # a server that quotes the key in answers and refusals
        mark = sum(map(ord, scribe.said(body))) % 7
        if mark == 0 and times == 1:
            return Say(status=500, error={"message": f"key {key} is tired"})
        text = scribe.answer(scribe.said(body), body["seed"])
        return Say(text.replace('"items"', f'"key": "{key}", "items"') if mark < 4 else text)

    environment = {**os.environ, "MY_KEY": key, "OPENAI_LOG": "debug"}
    shown = []
    with serving(script) as server:
        for more in (["--key-env", "MY_KEY"], ["--key-env", "MY_KEY", "--overwrite", "--seed", "1", "--json"]):
            full = command(mine, tmp_path / "out", server.url, "--debug", *more)
            done = subprocess.run(full, capture_output=True, text=True, env=environment)
            assert done.returncode == 0, done.stderr
            shown += [done.stdout, done.stderr]
    assert set(server.keys) == {f"Bearer {key}"}
    with serving(lambda body, times: Say(status=401, error={"message": f"bad key {key}"})) as server:
        full = command(mine, tmp_path / "refused", server.url, "--debug", "--key-env", "MY_KEY")
        done = subprocess.run(full, capture_output=True, text=True, env=environment)
        assert done.returncode == 3
        assert "RefusedKeyError" in done.stderr
        shown += [done.stdout, done.stderr]
    shown += [path.read_bytes().decode("utf-8", "replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(shown) > 12
    assert not [text for text in shown if key in text]
