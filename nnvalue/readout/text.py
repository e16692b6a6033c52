"""Value orientation in free text: situations are put to somebody, and a judge reads the answers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnvalue.artifacts import Journal, library_versions
from nnvalue.dataset import ValueInsight
from nnvalue.errors import DatasetError, InvalidInputError
from nnvalue.models import Response, Subject, generate_responses
from nnvalue.progress import Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.readout.bootstrap import mean_interval
from nnvalue.readout.judging import Judge, Judgement, Text
from nnvalue.readout.profile import ValueProfile
from nnvalue.readout.profile_work import finished, work_folder
from nnvalue.readout.scale_scores import Difference
from nnvalue.readout.voices import Voices, systems_of
from nnvalue.steering_protocol import Sampling, Steering
from nnvalue.values import Framework, load_framework

KIND = "judged text"
_PROFILE_OUTCOME = {"answered": "answered", "unreadable": "failed", "refused": "refused", "failed": "failed"}


@dataclass(frozen=True)
class Answered:
    """A situation, who it was put to, and what came of it.

    value: the value or group that was asked for; the situation's own is it, or a member of it.
    """

    voice: str
    value: str
    situation_id: str
    core: str
    prompt: Prompt
    response: Response

    @property
    def text(self) -> Text:
        """What a judge is shown."""
        return Text(f"{self.prompt.id}/{self.value}", self.prompt.user, self.response.text, self.value)


def ask_situations(
    subject: Subject,
    edition: ValueInsight,
    values: Sequence[str],
    voices: Voices | None = None,
    *,
    situations: int = 16,
    split: str = "test",
    seed: int = 0,
    steering: Steering | None = None,
    sampling: Sampling | None = None,
    max_new_tokens: int = 128,
    batch_tokens: int = 8192,
    journal: Journal | None = None,
    progress: Progress = silent,
) -> list[Answered]:
    """Situations that give each value room to show, put to every voice; by voice, then value.

    Every voice is asked the same situations. Which ones is a function of value, split and seed alone, every core once
    before any a second time, and fewer are a prefix of more.

    Args:
        values: values or groups of the edition's framework; a group is asked with situations of all its members.
        voices: who is asked: roles, or name -> a role, a system turn, or None for nobody in particular. Default: the
            neutral voice alone.
        situations: how many, for each value.
        steering, sampling, max_new_tokens, batch_tokens, journal: as `generate_responses` takes them.

    Raises:
        UnknownNameError: a value that the framework lacks.
        DatasetError: too few situations.
        InvalidInputError: nobody to ask, no value, one twice, or fewer than one situation; the rest as generation.
    """
    framework = load_framework(edition.framework)
    names = [framework.resolve(value) for value in values]
    if not names or situations < 1 or len(set(names)) != len(names):
        raise InvalidInputError("Give one value at least and none twice, and one situation at least for each.")
    systems = systems_of(voices)
    chosen = {name: situations_of(edition, framework, name, situations, split, seed) for name in names}
    put = [(voice, name, row) for voice in systems for name in names for row in chosen[name]]
    # A situation that serves a value and its group is asked once.
    prompts = {(voice, row["id"]): Prompt(f"{row['id']}/{voice}", systems[voice], row["text"]) for voice, _, row in put}
    made = generate_responses(
        subject, list(prompts.values()), steering=steering, sampling=sampling, max_new_tokens=max_new_tokens,
        batch_tokens=batch_tokens, journal=journal, progress=progress,
    )  # fmt: skip
    answers = dict(zip(prompts, made, strict=True))
    return [
        Answered(voice, name, row["id"], row["core"], prompts[voice, row["id"]], answers[voice, row["id"]])
        for voice, name, row in put
    ]


def judged_profile(
    subject: Subject,
    judge: Judge,
    edition: ValueInsight,
    values: Sequence[str],
    voices: Voices | None = None,
    *,
    situations: int = 16,
    split: str = "test",
    seed: int = 0,
    steering: Steering | None = None,
    sampling: Sampling | None = None,
    max_new_tokens: int = 128,
    batch_tokens: int = 8192,
    resamples: int = 2000,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> ValueProfile:
    """How far the answers of every voice hold each value, by a judge: mean stances, −1 … 1, as they are.

    They are not centred: 0 is neither the value nor its opposing aspect. A text that is not readable, or that the judge
    declines or fails to judge, counts with a stance of 0 and stands in the outcomes (`failed` if it is not readable).
    Intervals draw situations' cores. The parts are two halves of the cores.

    Args:
        subject, edition, …, batch_tokens: as `ask_situations` takes them.
        judge: who reads the answers.
        resamples: of the intervals.
        out: folder to save the profile in. Unfinished work is kept beside it, in `<out>.work`, and a run with the same
            settings goes on with it, as a language model does that judges with a log; a finished result of these
            settings is returned as it is.
        overwrite: replace what other settings left at `out`.

    Raises as `ask_situations` and the judge do; ArtifactError for a place that is taken.
    """
    framework = load_framework(edition.framework)
    out = None if out is None else Path(out).expanduser().resolve()
    spec = {
        "kind": KIND, "judge": judge.describe(), "voices": systems_of(voices),
        "values": [framework.resolve(value) for value in values], "situations": situations, "split": split,
        "sampling": None if sampling is None else dict(vars(sampling)), "max_new_tokens": max_new_tokens,
        "steering": None if steering is None else steering.describe(), "model": subject.identity(),
        "dataset": {"name": edition.name, "version": edition.version, "sha256": edition.fingerprint},
        "circle": list(framework.circle), "centred": False, "resamples": resamples, "seed": seed,
        "versions": library_versions(),
    }  # fmt: skip
    if (known := finished(out, spec, overwrite)) is not None:
        return known
    subject.runtime.begin()
    with work_folder(out, spec, overwrite) as journal:
        asked = ask_situations(
            subject, edition, values, voices, situations=situations, split=split, seed=seed, steering=steering,
            sampling=sampling, max_new_tokens=max_new_tokens, batch_tokens=batch_tokens, journal=journal,
            progress=progress,
        )  # fmt: skip
        judgements = judge.judge([one.text for one in asked], progress)
        profile = profile_of(asked, judgements, spec, framework.name, resamples, seed)
        if out is not None:
            profile.save(out)
    return profile


def profile_of(
    asked: Sequence[Answered],
    judgements: Sequence[Judgement],
    readout: Mapping[str, Any],
    framework: str,
    resamples: int = 2000,
    seed: int = 0,
) -> ValueProfile:
    """A profile of answers and their judgements, one each and in the same order, however they were come by."""
    voices = tuple(dict.fromkeys(one.voice for one in asked))
    values = tuple(dict.fromkeys(one.value for one in asked))
    shape = (len(voices), len(values))
    scores, low, high = (np.full(shape, np.nan) for _ in range(3))
    halves = {name: np.full(shape, np.nan) for name in ("first half", "second half")}
    n = np.zeros(shape, dtype=np.int64)
    cells: dict[tuple[int, int], list[tuple[str, float]]] = {}
    for one, found in zip(asked, judgements, strict=True):
        cell = cells.setdefault((voices.index(one.voice), values.index(one.value)), [])
        cell.append((one.core, found.stance or 0.0))
    for at, members in cells.items():
        cores, stances = [core for core, _ in members], np.array([stance for _, stance in members])
        scores[at], n[at] = stances.mean(), len(members)
        low[at], high[at] = mean_interval(stances, cores, resamples, seed)
        turn = {core: number % 2 for number, core in enumerate(dict.fromkeys(cores))}
        for number, half in enumerate(halves.values()):
            mine = np.array([turn[core] == number for core in cores])
            half[at] = stances[mine].mean() if mine.any() else np.nan
    counts = Counter(_PROFILE_OUTCOME[one.outcome] for one in judgements)
    outcomes = {name: counts[name] for name in ("answered", "refused", "failed")}
    rows = [_row(one, found) for one, found in zip(asked, judgements, strict=True)]
    return ValueProfile(readout, framework, voices, values, scores, low, high, n, outcomes, halves, rows)


def movement(profile: ValueProfile, base: ValueProfile, *, resamples: int = 2000, seed: int = 0) -> Difference:
    """How far stances moved from `base` to `profile`, answer by answer; intervals draw situations' cores.

    Raises InvalidInputError for profiles that are not of judged text, or of other voices, values or situations.
    """
    keys = ("voice", "value", "item")
    pairs = [
        {tuple(row[key] for key in keys): row for row in one.answers}
        for one in (base, profile)
        if one.readout.get("kind") == KIND
    ]
    if (
        len(pairs) < 2
        or (base.voices, base.values) != (profile.voices, profile.values)
        or set(pairs[0]) != set(pairs[1])
    ):
        raise InvalidInputError("Movement is told of two profiles of judged text, of the same voices and situations.")
    shape = base.scores.shape
    made = Difference(*(np.full(shape, np.nan) for _ in range(3)))
    cells: dict[tuple[int, int], list[tuple[str, float]]] = {}
    for key, row in pairs[0].items():
        at = base.voices.index(row["voice"]), base.values.index(row["value"])
        cells.setdefault(at, []).append((row["core"], pairs[1][key]["score"] - row["score"]))
    for at, members in cells.items():
        moved = [one for _, one in members]
        made.scores[at] = np.mean(moved)
        made.low[at], made.high[at] = mean_interval(moved, [core for core, _ in members], resamples, seed)
    return made


def _row(asked: Answered, found: Judgement) -> dict[str, Any]:
    return {
        "voice": asked.voice, "item": asked.situation_id, "value": asked.value, "score": found.stance or 0.0,
        "core": asked.core, "outcome": found.outcome, "system": asked.prompt.system, "prompt": asked.prompt.user,
        "answer": asked.response.text, "finished": asked.response.finished, "judge": found.judge, "how": found.how,
        "raw": "\n".join(found.raw), "parse": found.parse, "requests": " ".join(found.keys),
    }  # fmt: skip


def situations_of(
    edition: ValueInsight, framework: Framework, name: str, count: int, split: str, seed: int
) -> list[dict[str, Any]]:
    """Situations about a value or a group's members, in a seeded order; every core once before any a second time.

    Fewer are a prefix of more. Raises DatasetError where there are too few.
    """
    members = set(framework.members(name))
    table = edition.situations
    columns = zip(table["value"], table["split"], strict=True)
    mine = [number for number, (value, part) in enumerate(columns) if value in members and part == split]
    if len(mine) < count:
        raise DatasetError(
            f"{count} situations asked for, but {edition.name} has {len(mine)} for '{name}' in its '{split}' split."
        )
    rows = table.select(mine).to_list()
    random.Random(f"{seed}/{name}/{split}/text").shuffle(rows)
    times: Counter[str] = Counter()
    turns = []
    for place, row in enumerate(rows):
        turns.append((times[row["core"]], place))
        times[row["core"]] += 1
    return [rows[place] for _, place in sorted(turns)][:count]
