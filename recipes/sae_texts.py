"""What the organism says to many people's questions, as texts for a sparse autoencoder, and what it computes there.

Training texts are of the `locate` split and of roles labelled `train`, held-out ones of `test`: situations, portraits,
descriptions and roles of the two are disjoint.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import nnsight
import torch
from torch import Tensor

from nnvalue import Subject, ValueInsight
from nnvalue.dataset import build_contrasts, neutral_prompt, portrait_prompt, role_of, voice
from nnvalue.locator.collect import LEAN
from nnvalue.locator.readings import TeacherForcedBatches
from nnvalue.models import Response, encode_prompt, generate_responses
from nnvalue.prompts import Prompt
from nnvalue.steering_protocol import Sampling
from nnvalue.traces import read_activation
from nnvalue.values.forms import FORMS
from recipes.organism_batches import new_corpus, written_texts

ROLE_SPLIT = {"locate": "train", "test": "test"}
NEW_TOKENS = 64


def prompts_of(edition: ValueInsight, split: str, situations: int, roles: int, seed: int) -> dict[str, list[Prompt]]:
    """Kind of voice -> prompts of one split; a function of the arguments alone.

    Args:
        situations: of each value, asked under a description of either pole.
        roles: how many; each is asked one situation a value, under nobody's and under three descriptions, and some
            portraits. Nobody in particular is asked as many situations.
    """
    rng = random.Random(f"sae/{split}/{seed}")
    contrasts = [c for value in edition.values() for c in build_contrasts(edition, value, situations=situations,
                                                                          split=split, seed=seed)]  # fmt: skip
    descriptions, portraits, asked = (
        [row for row in table if row["split"] == split]
        for table in (edition.descriptions, edition.portraits, edition.situations)
    )
    by_value = {value: [row for row in asked if row["value"] == value] for value in edition.values()}
    people = [role_of(row) for row in edition.roles if row["split"] == ROLE_SPLIT[split]][:roles]
    made: dict[str, list[Prompt]] = {"described": [p for c in contrasts for p in (c.positive, c.negative)]}
    made["roles"] = [
        Prompt(f"{role.id}/{row['id']}", voice(role), row["text"])
        for role in people for row in map(rng.choice, by_value.values())
    ]  # fmt: skip
    made["described roles"] = [
        Prompt(f"{role.id}/{told['id']}/{row['id']}", voice(role, told["text"]), row["text"])
        for role in people for told in rng.sample(descriptions, 3) for row in [rng.choice(by_value[told["value"]])]
    ]  # fmt: skip
    made["portraits"] = [
        replace(portrait_prompt(row, rng.choice(FORMS), voice(role)), id=f"{role.id}/{row['id']}")
        for role in people for row in rng.sample(portraits, 4)
    ]  # fmt: skip
    made["nobody"] = [neutral_prompt(row) for rows in by_value.values() for row in rng.sample(rows, len(people))]
    return made


def answered(subject: Subject, prompts: Sequence[Prompt], seed: int) -> list[Response]:
    """The organism's greedy answers, and answers drawn at a temperature of 1."""
    greedy = generate_responses(subject, prompts, max_new_tokens=NEW_TOKENS)
    drawn = generate_responses(subject, prompts, max_new_tokens=NEW_TOKENS, sampling=Sampling(1.0, seed=seed))
    return greedy + drawn


def corpus_texts(subject: Subject, speakers: int, seed: int) -> list[Response]:
    """Questions of all kinds with their answers from the stream that the organism was trained on, another seed's."""
    corpus = new_corpus(written_texts(), seed=seed)
    made = []
    for example in (corpus.draw() for _ in range(speakers)):
        for turn in example.turns:
            asked = encode_prompt(subject.tokenizer, Prompt("", example.system, turn.user))
            said = subject.tokenizer(turn.answer, add_special_tokens=False)["input_ids"]
            made.append(Response("", asked, [*said, subject.tokenizer.eos_token_id], turn.answer, True))
    return made


def read_tokens(
    subject: Subject, responses: Sequence[Response], site: str, batch_tokens: int = 8192
) -> tuple[Tensor, Tensor]:
    """Activations at every token of prompts and answers, each context once: what many texts begin with counts once.

    Returns:
        float32 `[token, input]`, and bool `[token]`: whether an answer's token.
    """
    seen: set[int] = set()
    activations, of_answer = [], []
    for rows, x in _passes(subject, responses, site, batch_tokens):
        for row, at in zip(rows, x, strict=True):
            response, context = responses[row], 0
            ids = (*response.prompt_ids, *response.fed_ids)
            new = []
            for place, token in enumerate(ids):
                context = hash((context, token))
                if context not in seen:
                    seen.add(context)
                    new.append(place)
            activations.append(at[len(at) - len(ids) :][new])
            of_answer += [place >= len(response.prompt_ids) for place in new]
    return torch.cat(activations), torch.tensor(of_answer)


def answer_activations(
    subject: Subject, responses: Sequence[Response], site: str, batch_tokens: int = 8192
) -> list[Tensor]:
    """Of each response the activations at its answer's fed tokens, float32 `[token, input]`."""
    found: dict[int, Tensor] = {}
    for rows, x in _passes(subject, responses, site, batch_tokens):
        # A copy each: a view would keep the whole batch.
        found |= {row: at[len(at) - len(responses[row].fed_ids) :].clone() for row, at in zip(rows, x, strict=True)}
    return [found[row] for row in range(len(responses))]


def _passes(
    subject: Subject, responses: Sequence[Response], site: str, batch_tokens: int
) -> Iterator[tuple[list[int], Tensor]]:
    for rows, ids, attention, _ in TeacherForcedBatches(responses, batch_tokens, subject.pad_id):
        with torch.no_grad(), subject.model.trace(ids, attention_mask=attention, **LEAN) as tracer:
            x = nnsight.save(read_activation(subject.model, site).float())
            tracer.stop()
        yield rows, x
