"""The verb: a new edition of the dataset, for any framework, from any language model."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nnvalue.artifacts import canonical_json, digest, holds, other_settings, read_json
from nnvalue.builder.answers import items_of
from nnvalue.builder.card import card
from nnvalue.builder.choosing import SURPLUS, Choice, Item, choose
from nnvalue.builder.config import BuildConfig
from nnvalue.builder.prompts import fields_of, request_for
from nnvalue.builder.rows import rows_of
from nnvalue.builder.slots import Slot, plan_slots
from nnvalue.dataset import ValueInsight, from_rows, load_valueinsight, write_edition
from nnvalue.dataset.edition import FRAMEWORK_FILE
from nnvalue.errors import DatasetError, RemoteError
from nnvalue.llm import Backend, CompletionClient, Prices, Reply, Request, Usage, read_log
from nnvalue.progress import OVERALL, Progress, silent
from nnvalue.values import Framework, load_framework

ANSWERS, REJECTED, FACTS = "answers.jsonl", "rejected.jsonl", "build.json"
"""What lies beside an edition's tables: what was asked and answered, what was not taken and why, the settings."""
_SCHEMA = 1


@dataclass(frozen=True)
class BuiltEdition:
    """What a build gave.

    edition: the dataset.
    usage: what was asked in this run; nothing where the edition was there already.
    rejected: reason -> how many items were not taken for it.
    """

    edition: ValueInsight
    usage: Usage
    rejected: Mapping[str, int]


@dataclass
class _Written:
    """What the writer has given for one slot so far.

    items: in the order in which they came.
    origins: of each item, the key of its request.
    faults: (key of the request, what was wrong with a part of its answer).
    asked: how many requests were spent on it.
    """

    items: list[Item] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    asked: int = 0


def build_edition(
    backend: Backend,
    framework: str | Path,
    out: str | Path,
    config: BuildConfig | None = None,
    *,
    name: str | None = None,
    overwrite: bool = False,
    despite_failures: bool = False,
    prices: Prices | None = None,
    progress: Progress = silent,
) -> BuiltEdition:
    """Let a language model write a new edition, and write it into a folder.

    It is asked for a few texts at a time about one value and topic; what breaks a rule, or is like another text, is put
    aside with the reason, and more is asked for, until there is enough of everything. The edition is a function of the
    answers and the settings: a run that was stopped goes on from the answers in `<out>.work`, and asks nothing twice.
    In the folder lie, besides the dataset, `answers.jsonl` (prompts and raw answers), `rejected.jsonl` (items and
    reasons) and `build.json` (settings, seed, model).

    Args:
        backend: who writes: `Endpoint`, `LocalModel`, `FromFunction` of `nnvalue.llm`.
        framework: an embedded framework's name or a YAML file.
        name: of the edition; the folder's by default.
        overwrite: replace an edition of other settings at `out`; its answers are used again where they serve.
        despite_failures: go on where requests stay unanswered, without what they would have given.

    Raises:
        DatasetError: the writer does not give enough that can be taken; what it gave is kept.
        RemoteError: requests stay unanswered, or it is no use to go on.
        ArtifactError: `out` holds something else, or an edition of other settings.
    """
    config = config or BuildConfig()
    theory, out = load_framework(framework), Path(out).expanduser().resolve()
    # As it is now: who changes the file while a build goes on must not change what its labels mean.
    own = {FRAMEWORK_FILE: Path(framework).read_bytes()} if Path(framework).is_file() else {}
    name = name or out.name
    facts = _facts(backend, theory, config, name)
    work = out.with_name(f"{out.name}.work")
    if known := _finished(out, facts, overwrite):
        return known
    with _asking(backend, work, out, prices) as client:
        if (out / ANSWERS).is_file():
            client.remember(out / ANSWERS)
        writing = _Writing(client, plan_slots(theory, config), theory, config, despite_failures, progress)
        choice = writing.until_enough()
        tables = rows_of(writing.slots, choice.taken, config)
        edition = from_rows(name, **tables, framework=str(framework), version="1", language=config.language)
        rejected = writing.rejected(choice)
        counts = Counter(line["reason"] for line in rejected)
        extra = {
            ANSWERS: writing.log(),
            REJECTED: _json_lines(rejected),
            FACTS: canonical_json({**facts, **writing.figures()}),
            **own,
            "README.md": card(edition, theory, config, backend.identity, writing.figures()).encode(),
        }
        write_edition(edition, out, extra)
    return BuiltEdition(load_valueinsight(out), client.usage, dict(counts.most_common()))


@contextmanager
def _asking(backend: Backend, work: Path, out: Path, prices: Prices | None) -> Iterator[CompletionClient]:
    """A client whose log lies in `work`, and stays there as long as it holds an answer that the edition does not.

    The folder is taken away while its lock is held, so that it is never another run's.
    """
    with CompletionClient(backend, work / ANSWERS, prices) as client:
        try:
            yield client
        finally:
            if client.kept() <= _answers_in(out):
                shutil.rmtree(work, ignore_errors=True)


def _answers_in(out: Path) -> set[str]:
    """Keys of the answers that lie beside an edition."""
    path = out / ANSWERS
    return set(read_log(path)) if holds(out, "dataset") and path.is_file() else set()


class _Writing:
    """Asks round after round for what is missing, and keeps what comes."""

    def __init__(
        self, client: CompletionClient, slots: Sequence[Slot], theory: Framework, config: BuildConfig,
        despite_failures: bool, progress: Progress,
    ) -> None:  # fmt: skip
        self.slots = slots
        self._client, self._theory, self._config = client, theory, config
        self._despite_failures, self._progress = despite_failures, progress
        self._written = [_Written() for _ in slots]
        self._asked: dict[str, tuple[Request, Reply]] = {}

    def until_enough(self) -> Choice:
        """Ask until every slot is full. Raises DatasetError where one cannot be filled."""
        total = sum(slot.wanted for slot in self.slots)
        while True:
            choice = choose(self.slots, [written.items for written in self._written], self._config)
            missing = {
                number: left for number, slot in enumerate(self.slots) if (left := choice.missing(number, slot)) > 0
            }
            self._progress(OVERALL, total - sum(missing.values()), total)
            if not missing:
                return choice
            open_slots = [
                number
                for number in missing
                if self._written[number].asked < self._config.most_rounds(self.slots[number].wanted)
            ]
            if len(open_slots) < len(missing):
                raise self._too_little(missing, choice)
            self._ask(open_slots, missing)

    def _ask(self, numbers: Sequence[int], missing: Mapping[int, int]) -> None:
        """One request for each of these slots."""
        requests = []
        for number in numbers:
            written = self._written[number]
            there = [next(iter(item.values())) for item in written.items]
            requests.append(
                request_for(self.slots[number], self._theory, self._config, written.asked, missing[number], there)
            )
        replies = self._client.complete(requests, self._progress)
        failed = [reply for reply in replies if reply.status == "failed"]
        if failed and not self._despite_failures:
            raise RemoteError(
                f"{len(failed)} of {len(replies)} requests stayed unanswered (the first: {failed[0].reason}). All "
                "answers are kept: the same command asks for the rest; --despite-failures goes on without them."
            )
        for number, request, reply in zip(numbers, requests, replies, strict=True):
            self._keep(self._written[number], request, reply, fields_of(self.slots[number].kind))

    def _keep(self, written: _Written, request: Request, reply: Reply, fields: Sequence[str]) -> None:
        key = request.key(self._client.backend.identity)
        written.asked += 1
        if reply.status == "failed":
            return
        self._asked[key] = (request, reply)
        if reply.status == "refused":
            written.faults.append((key, f"refused: {reply.reason}"))
            return
        items, faults = items_of(reply.text, fields)
        written.items += items
        written.origins += [key] * len(items)
        written.faults += [(key, fault) for fault in faults]

    def rejected(self, choice: Choice) -> list[dict[str, Any]]:
        """Everything that was not taken: its slot, its request, the item if there is one, and the reason."""
        lines = []
        for number, place, reason in choice.rejected:
            written = self._written[number]
            lines.append(self._line(number, written.origins[place], _short(reason), dict(written.items[place]), reason))
        for number, written in enumerate(self._written):
            lines += [self._line(number, key, _short(fault), None, fault) for key, fault in written.faults]
        return lines

    def _line(self, number: int, key: str, reason: str, item: Any, detail: str) -> dict[str, Any]:
        slot = {name: given for name, given in asdict(self.slots[number]).items() if given is not None}
        return {"slot": slot, "answer": key, "reason": reason, "detail": detail, "item": item}

    def log(self) -> bytes:
        """What was asked and answered for this edition, in the form of the client's log, and always in one order."""
        asked = dict(self._client.backend.identity)
        return _json_lines(
            [
                {"key": key, "asked": asked, "request": request.as_json(), "reply": reply.as_json()}
                for key, (request, reply) in self._asked.items()
            ]
        )

    def figures(self) -> dict[str, Any]:
        """How many requests and tokens the edition took, whenever they were asked."""
        replies = [reply for _, reply in self._asked.values()]
        return {
            "requests": len(replies),
            "refused": sum(reply.status == "refused" for reply in replies),
            "prompt_tokens": sum(reply.prompt_tokens or 0 for reply in replies),
            "completion_tokens": sum(reply.completion_tokens or 0 for reply in replies),
        }

    def _too_little(self, missing: Mapping[int, int], choice: Choice) -> DatasetError:
        number = max(missing, key=missing.__getitem__)
        slot, written = self.slots[number], self._written[number]
        where = f"{slot.kind} of '{slot.value}'" + (f" ({slot.domain})" if slot.domain else "")
        reasons = Counter(line["reason"] for line in self.rejected(choice) if line["reason"] != SURPLUS)
        why = "; ".join(f"{reason} ({count}×)" for reason, count in reasons.most_common(3)) or "too little was written"
        return DatasetError(
            f"After {written.asked} requests {slot.wanted - missing[number]} of {slot.wanted} {where} can be taken. "
            f"What kept items out: {why}. All answers are kept: raise --rounds to go on, ask for less, or take a model "
            "that writes better."
        )


def _facts(backend: Backend, theory: Framework, config: BuildConfig, name: str) -> dict[str, Any]:
    """What makes an edition what it is."""
    from nnvalue import __version__

    return {
        "schema": _SCHEMA,
        "name": name,
        "written_by": dict(backend.identity),
        "framework": {"name": theory.name, "sha256": digest(asdict(theory))},
        "settings": asdict(config),
        "versions": {"nnvalue": __version__},
    }


def _finished(out: Path, facts: Mapping[str, Any], overwrite: bool) -> BuiltEdition | None:
    """The edition at `out` if it is the one asked for; refuses another one, unless it may be replaced."""
    if not holds(out, "dataset"):
        return None
    known = read_json(out / FACTS) if (out / FACTS).is_file() else {}
    if isinstance(known, dict) and digest({key: known.get(key) for key in facts}) == digest(facts):
        lines = (out / REJECTED).read_bytes().splitlines()  # a text's line breaks are more than a file's
        rejected = Counter(json.loads(line)["reason"] for line in lines)
        return BuiltEdition(load_valueinsight(out), Usage(), dict(rejected.most_common()))
    if not overwrite:
        raise other_settings(out, "dataset")
    return None


def _short(reason: str) -> str:
    """A reason without what is particular to one item, so that it can be counted."""
    head = reason.partition(":")[0].partition(" ('")[0]
    return "a wrong number of words" if head.endswith("allowed") else head


def _json_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")
