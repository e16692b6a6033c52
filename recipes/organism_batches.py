"""Many questions to one speaker in one row: how the organism's training texts become tensors.

A row is the beginning that its turns share (who speaks) and then the turns one after the other. A turn sees the
beginning and itself, no other turn, and its positions go on from the beginning's end; so each is computed as if it
stood alone, and the beginning is paid for once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain

import torch
from transformers import PreTrainedTokenizerFast

from nnvalue.dataset import SYSTEM_PROMPT, load_valueinsight
from nnvalue.dataset.roles import Role, draw_role, role_of, role_words
from nnvalue.organism import (
    LESSONS,
    Corpus,
    Lesson,
    Speaker,
    Turn,
    WrittenText,
    grammar,
    named_disturbances,
)
from nnvalue.values import POLES
from nnvalue.values.forms import FORMS

_FIRST_PERSON = re.compile(r"\b(I|me|my|mine|myself|we|us|our|ours|ourselves)\b", re.IGNORECASE)
OPTIONS = tuple(sorted({option for form in FORMS for option in form.options} | {"yes", "no"}))
POOL = 16  # batches drawn together and sorted by length, so that little is padding; lessons end where a pool does
PROMPT_SHARE, PROMPT_WEIGHT = 0.15, 0.6  # of prompt tokens that are targets too, and their weight; an answer's is 1
DECISIVE_WEIGHT = 6.0  # of the tokens that decide which way an answer goes: they are few, and the rest is style
BEGINNING_WEIGHT = 0.7  # of the beginning's tokens in the first lesson: a description keeps to one pole, and what an
# attribute means follows it


@dataclass(frozen=True)
class Row:
    """One packed row.

    ids: token ids.
    turns: for each token the turn it belongs to, from 1; 0 for the beginning.
    weights: for each token its weight as a target; 0 for a prompt's, 1 or more for an answer's.
    shares: place of an option's token -> option -> its probability.
    """

    ids: list[int]
    turns: list[int]
    weights: list[float]
    shares: dict[int, Mapping[str, float]] = field(default_factory=dict)


def lesson_at(step: int) -> Lesson:
    """What is taught at a step."""
    return next(lesson for lesson in LESSONS if lesson.until is None or step < lesson.until)


def written_texts() -> list[WrittenText]:
    """The hand-written texts that the organism may be trained on: the dataset's `locate` split."""
    edition = load_valueinsight()
    texts = [WrittenText("description", r["value"], r["pole"], r["text"]) for r in train_rows(edition.descriptions)]
    texts += [WrittenText("situation", r["value"], None, r["text"]) for r in train_rows(edition.situations)]
    texts += [WrittenText("portrait", r["value"], r["keying"], r["text"]) for r in train_rows(edition.portraits)]
    for row in train_rows(edition.sentences):
        if not any(_FIRST_PERSON.search(row[pole]) for pole in POLES):
            texts += [WrittenText("sentence", row["value"], pole, row[pole]) for pole in POLES]
    return [text for text in texts if text.value is not None]


def train_rows(table: Sequence[dict]) -> list[dict]:
    """The rows of the `locate` split."""
    return [row for row in table if row["split"] == "locate"]


def new_corpus(written: list[WrittenText], seed: int, lesson: Lesson = LESSONS[-1]) -> Corpus:
    """The stream of training texts over the dataset's named roles and roles drawn anew."""
    named = [named_speaker(role) for role in shipped_roles() if role.split == "train"]
    taken = {role.name for role in shipped_roles()}

    def draw_speaker(rng: random.Random, told_share: float, glossed: bool) -> Speaker:
        while (role := draw_role(rng, "", "train", told_share)).name in taken:
            pass
        role = with_any_phrases(role, rng)
        return Speaker(glossed_text(role, rng) if glossed else role.text, role.levels)

    return Corpus(written, named, draw_speaker, SYSTEM_PROMPT, seed, lesson)


def with_any_phrases(role: Role, rng: random.Random) -> Role:
    """The role in phrases of any kind: of few values a role tells by trade and situation, and traits would be rare."""
    told = list(role.levels)
    rng.shuffle(told)
    of_value = {
        value: list(chain(*role_words().values[value][POLES[level < 0]].values()))
        for value, level in role.levels.items()
    }
    trade, situation, *traits = (rng.choice(of_value[value]) for value in told)
    return replace(role, trade=trade, situation=situation, traits=tuple(traits))


def glossed_text(role: Role, rng: random.Random) -> str:
    """A role's text in which attributes are followed by what they mean, or only that is said.

    So hundreds of phrases are learned, and that an answer depends on the one of them that the question is about.
    """
    sentences = []
    for phrase in (role.trade, role.situation, *role.traits):
        said = f"This person {phrase}."
        meant = f"{grammar.meaning(rng, *_meanings()[phrase])}."
        done = f"This person {grammar.described_deed(rng, *_meanings()[phrase])}."
        sentences += rng.choice(((said, meant), (said, done), (done,)))
    return " ".join(sentences)


@cache
def _meanings() -> dict[str, tuple[str, str]]:
    """Phrase -> (value, pole) that it tells about."""
    return {
        phrase: (value, pole)
        for value, poles in role_words().values.items()
        for pole, kinds in poles.items()
        for phrases in kinds.values()
        for phrase in phrases
    }


@cache
def shipped_roles() -> tuple[Role, ...]:
    """The dataset's roles (read once)."""
    return tuple(role_of(row) for row in load_valueinsight().roles)


def named_speaker(role: Role) -> Speaker:
    """A role with the disturbances that the organism was made with."""
    return Speaker(role.text, role.levels, named_disturbances(role.id, role.levels))


def pack(tokenizer: PreTrainedTokenizerFast, system: str | None, turns: Sequence[Turn]) -> Row:
    """Token ids of one speaker and several turns, each exactly as the chat template would write it alone."""
    start = chat_ids(tokenizer, system, [])
    ids, numbers, weights, shares = list(start), [0] * len(start), [0.0] * len(start), {}
    for number, turn in enumerate(turns, start=1):
        prompt = chat_ids(tokenizer, system, [turn.user])
        answer, answer_weights = _answer_ids(tokenizer, turn) if turn.answer else ([], [])
        ids += prompt[len(start) :]
        if turn.shares:
            shares[len(ids)] = turn.shares
        ids += answer
        weights += [0.0] * (len(prompt) - len(start)) + answer_weights
        numbers += [number] * (len(ids) - len(numbers))
    return Row(ids, numbers, weights, shares)


def _answer_ids(tokenizer: PreTrainedTokenizerFast, turn: Turn) -> tuple[list[int], list[float]]:
    coded = tokenizer(turn.answer, add_special_tokens=False, return_offsets_mapping=True)
    low, high = turn.decisive
    weights = [DECISIVE_WEIGHT if start < high and end > low else 1.0 for start, end in coded["offset_mapping"]]
    return [*coded["input_ids"], tokenizer.eos_token_id], [*weights, 1.0]


def option_ids(tokenizer: PreTrainedTokenizerFast, options: Sequence[str]) -> list[int]:
    """The token of each option. Raises ValueError where an option is not one token."""
    found = [tokenizer(option, add_special_tokens=False)["input_ids"] for option in options]
    if any(len(ids) != 1 for ids in found):
        raise ValueError(f"The tokenizer splits an option of {options}.")
    return [ids[0] for ids in found]


def chat_ids(tokenizer: PreTrainedTokenizerFast, system: str | None, users: list[str]) -> list[int]:
    """Token ids of the chat so far; with a question, up to where the answer begins."""
    turns = [{"role": "system", "content": system}] if system else []
    turns += [{"role": "user", "content": user} for user in users]
    if not turns:
        return [tokenizer.bos_token_id]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=bool(users))
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def collate(rows: Sequence[Row], pad_id: int) -> dict[str, torch.Tensor]:
    """Rows as a batch: `input_ids`, `position_ids`, `turns` and `weights` `[batch, token]`, padded on the right.

    `attention_mask` `[batch, 1, token, token]` says which token sees which; `shares` `[batch, token, option]` holds
    the probability of each of `OPTIONS` where one of them stands, and 0 elsewhere.
    """
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    turns, weights = torch.full((len(rows), width), -1), torch.zeros(len(rows), width)
    positions = torch.zeros(len(rows), width, dtype=torch.long)
    shares = torch.zeros(len(rows), width, len(OPTIONS))
    for number, row in enumerate(rows):
        n = len(row.ids)
        ids[number, :n], turns[number, :n] = torch.tensor(row.ids), torch.tensor(row.turns)
        weights[number, :n] = torch.tensor(row.weights)
        positions[number, :n] = torch.tensor(_positions(row.turns))
        for place, given in row.shares.items():
            shares[number, place] = torch.tensor([given.get(option, 0.0) for option in OPTIONS])
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    seen = causal & ((turns[:, None, :] == 0) | (turns[:, None, :] == turns[:, :, None]))
    return {
        "input_ids": ids, "position_ids": positions, "turns": turns, "weights": weights, "shares": shares,
        "attention_mask": seen[:, None],
    }  # fmt: skip


def _positions(turns: list[int]) -> list[int]:
    shared = turns.count(0)
    positions, last, place = [], 0, 0
    for turn in turns:
        place = shared if turn != last else place
        positions.append(place if turn else len(positions))
        last, place = turn, place + 1
    return positions


class Batches:
    """The training batch of every step: a function of seed and step, drawn in pools sorted by length."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self._tokenizer, self._seed = tokenizer, seed
        self._written = written_texts()
        self._pool_number, self._pool = -1, []

    def __getitem__(self, step: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """A batch as `collate` makes it, and the weight of each token as a target `[batch, token]`."""
        number, place = divmod(step, POOL)
        if number != self._pool_number:
            self._pool_number, self._pool = number, self._draw(number)
        batch = collate(self._pool[place], self._tokenizer.pad_token_id)
        drawn = torch.rand(batch["weights"].shape, generator=torch.Generator().manual_seed(step)) < PROMPT_SHARE
        weight = PROMPT_WEIGHT * (drawn & (batch["turns"] >= 0)).float()
        if step < LESSONS[0].until:
            weight[batch["turns"] == 0] = BEGINNING_WEIGHT
        # The first token of a turn follows the beginning in thought, but another turn in the row: never a target.
        first = batch["turns"][:, 1:] != batch["turns"][:, :-1]
        weight[:, 1:][first] = 0.0
        return batch, torch.where(batch["weights"] > 0, batch["weights"], weight)

    def _draw(self, number: int) -> list[list[Row]]:
        lesson = lesson_at(number * POOL)
        corpus = new_corpus(self._written, self._seed * 1_000_003 + number, lesson)
        size = lesson.speakers
        examples = (corpus.draw() for _ in range(POOL * size))
        drawn = [pack(self._tokenizer, example.system, example.turns) for example in examples]
        drawn.sort(key=lambda row: len(row.ids))
        batches = [drawn[start : start + size] for start in range(0, len(drawn), size)]
        order = torch.randperm(POOL, generator=torch.Generator().manual_seed(number)).tolist()
        return [batches[place] for place in order]


def texts_for_tokenizer(seed: int, count: int) -> Iterator[str]:
    """Texts of the last lesson, without any chat around them."""
    corpus = new_corpus(written_texts(), seed)
    for _ in range(count):
        example = corpus.draw()
        if example.system:
            yield example.system
        for turn in example.turns:
            yield from (turn.user, turn.answer)
