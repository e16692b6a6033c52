"""The verb: everybody is asked the same items in every setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnvalue.artifacts import Journal, digest, holds, library_versions, other_settings
from nnvalue.causal.settings import Setting, checked_settings, prompt_settings
from nnvalue.causal.survey import KIND, Survey, SurveyItem
from nnvalue.causal.yes_no import YesNo, yes_no_answers
from nnvalue.dataset import Role, ValueInsight, load_valueinsight, role_of
from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.models import Subject, open_model, option_log_probabilities
from nnvalue.progress import DETAIL, Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.readout import Questionnaire, read_questionnaire
from nnvalue.readout.profile_work import work_folder
from nnvalue.readout.scale import MIN_MASS
from nnvalue.steering_protocol import require_single_pass
from nnvalue.values.forms import forms

ROLES = 40
"""Roles of the dataset that are asked where no others are given."""
PROTOCOLS = ("options", "yes_no")
"""`options`: a scale's options and how likely each is. `yes_no`: a thought and a yes or no, as the paper asks."""
_STAGE = "surveying"
_BLOCK = {False: 2_000, True: 20_000}
"""Prompts that are asked at once, and that a kill costs at most; more where jobs wait in a queue."""

Instrument = str | Path | Questionnaire
People = Mapping[str, Role | str | None] | Sequence[Role]
"""Roles; or name -> a role, a person in words, or None for nobody in particular."""


def survey(
    model: Any = None,
    settings: Sequence[Setting] | None = None,
    *,
    roles: People | None = None,
    instrument: Instrument | Sequence[Instrument] = "portraits",
    dataset: ValueInsight | str | Path | None = None,
    framework: str | None = None,
    split: str = "all",
    pairs: int | None = 2,
    form: str | None = None,
    protocol: str | YesNo = "options",
    seed: int = 0,
    batch_tokens: int = 8192,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Survey:
    """Ask roles the same items in every setting: the table that a causal value graph is told from.

    By default an answer is Σ p·s / Σ p over the options of a scale, from one pass an item and option order; nothing is
    generated.

    Args:
        model: a `Subject`, or anything that `open_model` takes; None for the embedded organism.
        settings: what steers; the unsteered one is always among them. Default: a description of somebody at either pole
            of every value that the items tell about.
        roles: who is asked. Default: the first roles of the dataset.
        instrument, dataset, framework, split, pairs, form: the items, as `nnvalue.measure` takes them; several
            instruments of one framework and scale are asked as one.
        protocol: `options`, or a `YesNo` (`yes_no` for the plain one).
        seed: of which description a role is put under.
        out: folder to save in. Unfinished work is kept beside it, in `<out>.work`, and a run with the same settings
            goes on with it; a finished survey of these settings is returned as it is.
        overwrite: replace what other settings left at `out`.

    Raises NnvalueError of some kind, with what to do, for anything that a user can mend.
    """
    edition = dataset if isinstance(dataset, ValueInsight) else load_valueinsight(dataset)
    several: Sequence[Any] = instrument if isinstance(instrument, list | tuple) else [instrument]
    read: dict[str, Any] = {"dataset": edition, "framework": framework, "split": split, "form": form, "pairs": pairs}
    asked, source_of = _joined([read_questionnaire(one, **read) for one in several])
    way = _protocol(protocol)
    people = _people(roles, edition)
    if settings is None:
        told = [value for value in asked.values if value in {row["value"] for row in edition.descriptions}]
        settings = prompt_settings(edition, told, seed=seed)
    steered = checked_settings(settings)
    subject = model if isinstance(model, Subject) else open_model(model)
    _check_steering(subject, steered, way)
    out = None if out is None else Path(out).expanduser().resolve()
    spec = {
        "kind": KIND, "protocol": way.describe() if way else {"name": "options", "min_mass": MIN_MASS},
        "instrument": asked.describe(), "framework": asked.framework.name, "circle": list(asked.framework.circle),
        "scale": list(way.scale if way else asked.scale), "settings": [setting.facts() for setting in steered],
        "roles": {name: role.text if isinstance(role, Role) else role for name, role in people.items()},
        "model": subject.identity(), "dataset": {"name": edition.name, "sha256": edition.fingerprint}, "seed": seed,
        "versions": library_versions(),
    }  # fmt: skip
    if (known := _finished(out, spec, overwrite)) is not None:
        return known
    subject.runtime.begin()
    work = _Work(subject, asked, source_of, steered, people, way, batch_tokens, progress)
    with work_folder(out, spec, overwrite) as journal:
        made = work.survey(spec, journal)
        if out is not None:
            made.save(out)
    return made


@dataclass(frozen=True, eq=False)
class _Work:
    """What is asked of whom, and how."""

    subject: Subject
    asked: Questionnaire
    source_of: Mapping[str, str]
    settings: tuple[Setting, ...]
    people: Mapping[str, Role | str | None]
    way: YesNo | None
    batch_tokens: int
    progress: Progress

    def survey(self, spec: Mapping[str, Any], journal: Journal) -> Survey:
        """Asks block after block of roles; of those that the journal has, nothing is asked again."""
        told = [question for question in self.asked.questions if question.uses and question.text is not None]
        if not told:
            raise InvalidInputError(f"No item of '{self.asked.name}' has a text and tells about a value.")
        asked = replace(self.asked, questions=tuple(told))
        orders = ("",) if self.way else tuple(form.order for form in forms(asked.form_names[0]))
        names = list(self.people)
        each = len(self.settings) * len(told) * len(orders)
        size = max(1, _BLOCK[self.subject.runtime.costly] // each)
        parts = []
        for start in range(0, len(names), size):
            block, key = names[start : start + size], f"block-{start:06d}"
            if not journal.has_tensors(key):
                scores, mass = self._ask(asked, orders, block, journal, start * each, len(names) * each)
                journal.put_tensors(key, {"scores": torch.from_numpy(scores), "mass": torch.from_numpy(mass)})
                journal.drop("asking")
            parts.append(journal.get_tensors(key))
            self.progress(_STAGE, (start + len(block)) * each, len(names) * each)
        uses = [(number, use) for number, question in enumerate(told) for use in question.uses]
        items = tuple(
            SurveyItem(told[at].id, value, keying, told[at].unit, self.source_of[told[at].id])
            for at, (value, keying) in uses
        )
        at = [number for number, _ in uses]
        scores, mass = (
            np.concatenate([part[name].numpy() for part in parts], axis=1)[:, :, at] for name in ("scores", "mass")
        )
        return Survey(_facts(spec), asked.values, self.settings, tuple(names), items, orders, scores, mass)

    def _ask(
        self, asked: Questionnaire, orders: Sequence[str], block: Sequence[str], journal: Journal, done: int, of: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and masses of some roles, float32 `[setting, role, question, order]`."""
        # All settings of a role stand together: those that say the same share what is computed.
        rows: list[tuple[Setting, str, Any, Any]] = [
            (setting, name, question, form)
            for name in block
            for setting in self.settings
            for question in asked.questions
            for form in ((None,) if self.way else forms(question.form))
        ]
        costly = self.subject.runtime.costly
        settings: dict[str, Any] = {
            "steering": [setting.steering for setting, *_ in rows], "batch_tokens": self.batch_tokens,
            "journal": journal if costly else None, "progress": _onward(self.progress, done, of),
        }  # fmt: skip
        if self.way is None:
            prompts = [
                Prompt(f"{question.id}/{form.order}", setting.system(name, self.people[name]), question.put(form))
                for setting, name, question, form in rows
            ]  # fmt: skip
            shares = np.exp(
                option_log_probabilities(
                    self.subject, prompts, asked.options, journal_key=f"asking-{done}", **settings
                ).double().numpy()
            )  # fmt: skip
            mass = shares.sum(1)
            points = np.array([form.scores for *_, form in rows])
            score = np.where(mass >= MIN_MASS, (shares * points).sum(1) / np.maximum(mass, 1e-12), np.nan)
        else:
            systems = [(question, setting.system(name, self.people[name])) for setting, name, question, _ in rows]
            score, mass = yes_no_answers(self.subject, systems, self.way, journal_key=f"asking-{done}", **settings)
        shape = (len(block), len(self.settings), len(asked.questions), len(orders))
        return _by_setting(score, shape), _by_setting(mass, shape)


def _by_setting(figures: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Figures that are put role by role, as `[setting, role, question, order]`."""
    return np.ascontiguousarray(figures.reshape(shape).swapaxes(0, 1), dtype=np.float32)


def _onward(progress: Progress, done: int, of: int) -> Progress:
    """Progress of a block as that of all; its details are kept."""

    def report(stage: str, here: int, _of: int) -> None:
        _, mark, detail = stage.partition(DETAIL)
        progress(_STAGE + mark + detail, done + here, of)

    return report


def _joined(several: Sequence[Questionnaire]) -> tuple[Questionnaire, dict[str, str]]:
    """Questionnaires as one, and which of them each question is from.

    Raises InvalidInputError for none, for other frameworks or scales, and for items that share an id.
    """
    if not several:
        raise InvalidInputError("There is nothing to ask; give an instrument.")
    source_of = {question.id: one.name for one in several for question in one.questions}
    if len(several) == 1:
        return several[0], source_of
    for what in ("framework", "scale"):
        each = [one.framework.name if what == "framework" else one.options for one in several]
        if len(set(each)) > 1:
            told = "; ".join(f"{one.name}: {of}" for one, of in zip(several, each, strict=True))
            raise InvalidInputError(f"Instruments of one {what} are asked together ({told}); survey them one by one.")
    questions = tuple(
        replace(question, unit=f"{one.name} {question.unit}") for one in several for question in one.questions
    )
    facts = {"kind": "several", "instruments": [one.describe() for one in several]}
    return Questionnaire(" + ".join(one.name for one in several), several[0].framework, questions, facts), source_of


def _protocol(given: str | YesNo) -> YesNo | None:
    if isinstance(given, YesNo):
        return given
    if given not in PROTOCOLS:
        raise UnknownNameError("protocol", str(given), PROTOCOLS)
    return YesNo() if given == "yes_no" else None


def _people(roles: People | None, edition: ValueInsight) -> dict[str, Role | str | None]:
    """Name -> who is asked. Raises InvalidInputError for nobody, or two of one name."""
    if roles is None:
        roles = [role_of(row) for row in list(edition.roles)[:ROLES]]
        if not roles:
            raise InvalidInputError(f"{edition.name} has no roles; give some, or generate them.")
    if not isinstance(roles, Mapping):
        if len({role.id for role in roles}) != len(roles):
            raise InvalidInputError("Two roles share an id; give roles by names of your own.")
        roles = {role.id: role for role in roles}
    if not roles:
        raise InvalidInputError("There is nobody to ask; leave roles out for those of the dataset.")
    return dict(roles)


def _check_steering(subject: Subject, settings: Sequence[Setting], way: YesNo | None) -> None:
    """What cannot be asked is refused before anything is."""
    identity = subject.identity()
    for setting in settings:
        if setting.steering is not None:
            setting.steering.require_model(identity)
            if way is None:
                require_single_pass(setting.steering.edits(subject.anatomy))


def _facts(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A specification as a survey keeps it: of the settings, which stand beside it, a digest."""
    return {**spec, "settings": digest(spec["settings"])}


def _finished(out: Path | None, spec: Mapping[str, Any], overwrite: bool) -> Survey | None:
    if out is None or not holds(out, KIND) or overwrite:
        return None
    known = Survey.load(out)
    if digest(dict(known.facts)) == digest(_facts(spec)):
        return known
    raise other_settings(out, KIND)
