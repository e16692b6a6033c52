"""What a run gathers of a model for its methods: responses, statistics, and what some methods ask for besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nnvalue.artifacts import Journal
from nnvalue.dataset import Contrast
from nnvalue.errors import ModelError
from nnvalue.locator.collect import gather_readings
from nnvalue.locator.config import LocateConfig
from nnvalue.locator.methods import Evidence, Method
from nnvalue.locator.moments import ContrastMoments
from nnvalue.locator.per_response import KINDS, gather_per_response
from nnvalue.locator.readings import TEXTS, Reading
from nnvalue.locator.score import HALVES
from nnvalue.locator.universal import universal_neurons
from nnvalue.models import Response, Subject, encode_prompt, generate_responses
from nnvalue.progress import Progress
from nnvalue.prompts import Prompt
from nnvalue.values import POLES

ReadingMoments = dict[Reading, ContrastMoments]
_ALL = slice(None)


class Gathering:
    """Every step reads what the journal has of it before it computes, so the memory of one value is enough for all.

    Args:
        contrasts: of every basic value of the run.
        null: of every basic value and pole the A/A contrasts, fold by fold on the same situations; empty for none.
        readings: what all methods of the run read, gathered in one pass.
        generates: whether any of them needs responses.
        neutral: prompts without a description, on which universal neurons are looked for.
        step_done: is called with a number of steps whenever so many of `steps` are done for the first time.
    """

    def __init__(
        self,
        subject: Subject,
        config: LocateConfig,
        contrasts: Mapping[str, Sequence[Contrast]],
        null: Mapping[tuple[str, str], Sequence[Contrast]],
        readings: Sequence[Reading],
        generates: bool,
        neutral: Sequence[Prompt],
        journal: Journal,
        progress: Progress,
        step_done: Callable[[int], None],
    ) -> None:
        self.subject, self.journal, self.contrasts = subject, journal, contrasts
        self._config, self._null, self._readings, self._neutral = config, null, readings, neutral
        self._generates = generates
        self._progress, self._step_done = progress, step_done
        self._rates: dict[tuple[Reading, str | None], dict[int | None, Tensor]] = {}
        self._known_universal: dict[str, Tensor] = {}
        self._gathered: set[tuple[str, str | None]] = set()
        self._last_responses: dict[tuple[str, str, bool], list[Response]] = {}

    @property
    def steps(self) -> int:
        """How many steps gathering takes, two to a pair of arms."""
        return len(POLES) * (len(self.contrasts) + len(self._null))

    @property
    def null_poles(self) -> tuple[str, ...]:
        """The poles whose A/A contrasts there are."""
        return POLES if self._null else ()

    def prompts(self, value: str, pole: str, other: bool = False) -> list[Prompt]:
        """Those of a value's contrasts under one pole, or those that its A/A contrasts have besides."""
        prompts = [getattr(contrast, pole) for contrast in self.contrasts[value]]
        if not other:
            return prompts
        known = {prompt.id for prompt in prompts}
        arms = ((drawn.positive, drawn.negative) for drawn in self._null[value, pole])
        return [next(arm for arm in pair if arm.id not in known) for pair in arms]

    def responses(self, value: str, pole: str, other: bool = False) -> list[Response]:
        """Those to `prompts`, contrast by contrast; the last value's are held, as they are asked for many times."""
        key = (value, pole, other)
        if any(held != value for held, *_ in self._last_responses):
            self._last_responses.clear()
        if key not in self._last_responses:
            self._last_responses[key] = self._made_responses(*key)
        return self._last_responses[key]

    def _made_responses(self, value: str, pole: str, other: bool) -> list[Response]:
        prompts = self.prompts(value, pole, other)
        tokenizer = self.subject.tokenizer
        if self._config.responses == "dataset":
            drawn = self._null[value, pole] if other else self.contrasts[value]
            said = {name: text for contrast in drawn for name, text in contrast.answers.items()}
            return [self._told(prompt, said[prompt.id]) for prompt in prompts]
        if not self._generates:
            return [Response(prompt.id, encode_prompt(tokenizer, prompt), (), "", False) for prompt in prompts]
        return generate_responses(
            self.subject,
            prompts,
            max_new_tokens=self._config.max_new_tokens,
            batch_tokens=self._config.batch_tokens,
            journal=self.journal,
            journal_key=f"{value}-{pole}-{'other-' if other else ''}responses",
            progress=self.stage(value, pole, other),
        )

    def _told(self, prompt: Prompt, text: str) -> Response:
        """The dataset's answer as if the model had given it: its tokens and the one that ends it, which is not fed."""
        tokenizer = self.subject.tokenizer
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else self.subject.pad_id
        return Response(prompt.id, encode_prompt(tokenizer, prompt), (*ids, end), text, True)

    def moments(self, value: str, null_of: str | None = None) -> ReadingMoments:
        """Of a value's contrasts, or of the A/A contrasts of one of its poles."""
        moments: ReadingMoments = {}
        for texts in TEXTS:
            readings = [reading for reading in self._readings if reading.texts == texts]
            if readings:
                positive, negative = self._arms(value, null_of, texts)
                moments |= gather_readings(
                    self.subject,
                    positive,
                    negative,
                    self._folds(value, texts),
                    readings,
                    **self._how(value, null_of, "moments"),
                )
        if (value, null_of) not in self._gathered:
            self._gathered.add((value, null_of))
            self._step_done(len(POLES))
        return moments

    def crossed(self, value: str) -> dict[str, ReadingMoments]:
        """Either pole's responses under both prompts, contrasted by `prompt` (same text) or `text` (same prompt)."""
        by_prompt = self._arms(value, None, "both")
        same_text = list(zip(*by_prompt, strict=True))
        by_text = [[response for pair in same_text[first::2] for response in pair] for first in (0, 1)]
        return {
            effect: gather_readings(
                self.subject,
                arms[0],
                arms[1],
                self._folds(value, "both"),
                self._readings,
                **self._how(value, None, f"{effect}-crossed"),
            )
            for effect, arms in (("prompt", by_prompt), ("text", by_text))
        }

    def evidence(
        self,
        method: Method,
        reading: Reading,
        members: Sequence[str],
        parts: Sequence[ReadingMoments],
        folds: slice = _ALL,
        null_of: str | None = None,
    ) -> Evidence:
        """What a method sees of a value: all folds of its members, or some.

        Args:
            parts: the members' moments, or those of their A/A contrasts under `null_of`.
        """
        return Evidence(
            moments={reading: [part[reading].folds(folds) for part in parts]},
            firing_rates=(
                {reading: self._firing_rates(reading, folds, null_of)} if "firing_rates" in method.needs else {}
            ),
            members=[list(self.contrasts).index(name) for name in members],
            universal=self._universal(reading.site) if "universal" in method.needs else None,
            per_response={
                kind: [self._per_response(kind, reading, name, folds, null_of) for name in members]
                for kind in KINDS
                if kind in method.needs
            },
            output_weights=self._output_weights if "output_weights" in method.needs else None,
            seed=self._config.seed,
        )

    def stage(self, value: str, pole: str | None = None, null: bool = False) -> Progress:
        """Tells the listener what of which value is under way."""
        sign = {"positive": "+ ", "negative": "− ", None: ""}[pole]
        mark = f"{value} {sign}{'A/A ' if null else ''}"
        return lambda stage, done, total: self._progress(mark + stage, done, total)

    def _arms(self, value: str, null_of: str | None, texts: str = "own") -> list[list[Response]]:
        """The responses of a value's contrasts, or of the A/A contrasts of one of its poles.

        With the texts `both` every contrast stands there twice: both its prompts with the positive arm's text, then
        both with the negative arm's.
        """
        if null_of is None:
            arms = [self.responses(value, pole) for pole in POLES]
        else:
            given = (response for other in (False, True) for response in self.responses(value, null_of, other))
            known = {response.prompt_id: response for response in given}
            arms = [[known[getattr(drawn, arm).id] for drawn in self._null[value, null_of]] for arm in POLES]
        if texts == "own":
            return arms
        pairs = list(zip(*arms, strict=True))
        return [[_followed(asked, said) for asked, two in zip(arm, pairs, strict=True) for said in two] for arm in arms]

    def _folds(self, value: str, texts: str = "own") -> list[int]:
        times = {"own": 1, "both": 2}[texts]
        return [contrast.fold for contrast in self.contrasts[value] for _ in range(times)]

    def _how(self, value: str, null_of: str | None, what: str) -> dict[str, Any]:
        return {
            "batch_tokens": self._config.batch_tokens,
            "journal": self.journal,
            "journal_key": f"{value}-null-{null_of}-{what}" if null_of else f"{value}-{what}",
            "progress": self.stage(value, null_of, null_of is not None),
        }

    def _per_response(self, kind: str, reading: Reading, value: str, folds: slice, null_of: str | None) -> Tensor:
        """Of the contrasts in some folds that have something to count on both sides; a mean of nothing is no zero."""
        arms = self._arms(value, null_of, reading.texts)
        how = self._how(value, null_of, "responses")
        vectors = gather_per_response(self.subject, arms[0], arms[1], kind, reading, **how)
        if (kind, reading.texts) == ("products", "both"):
            vectors[1::2] *= -1  # the negative arm's text: so it is the log-odds of the texts that is explained
        fold_of = torch.tensor(self._folds(value, reading.texts)[: len(vectors)])
        counts = torch.tensor([[reading.count(one) for one in arm[: len(vectors)]] for arm in arms])
        wanted = torch.isin(fold_of, torch.arange(int(fold_of.max()) + 1)[folds]) & (counts > 0).all(0)
        if reading.texts == "both":  # a text without its counterpart says nothing about which of them is likelier
            wanted = wanted.view(-1, 2).all(1).repeat_interleave(2)
        return vectors[wanted]

    def _output_weights(self, layer: int) -> Tensor:
        down = self.subject.anatomy.down_in[layer].removesuffix(".input")
        module = self.subject.model._module.get_submodule(down)
        if module.weight.is_meta:
            raise ModelError(
                f"The weights of {down} are not in memory (offloaded), and the method reads them all; open the model "
                f"on one device, or choose another method."
            )
        weight = module.weight.detach().to("cpu", torch.float32)
        weight = weight.T if hasattr(module, "in_features") else weight  # GPT-2's Conv1D has it the other way round
        block = self.subject.model._module.get_submodule(self.subject.anatomy.block[layer].removesuffix(".output"))
        norm = getattr(block, "post_feedforward_layernorm", None)
        if norm is None:
            return weight
        # Gemma and OLMo 2 scale what the MLP writes, dimension by dimension, before it joins the residual stream.
        scale = norm.weight.detach().to("cpu", torch.float32)
        return weight * (1 + scale if self.subject.anatomy.family.startswith("gemma") else scale)

    def _firing_rates(self, reading: Reading, folds: slice, null_of: str | None) -> Tensor:
        """Of all basic values of the run, over all folds or one of `HALVES`; float64 `[value, pole, layer, neuron]`."""
        if (reading, null_of) not in self._rates:
            rates: dict[int | None, list[Tensor]] = {chosen.start: [] for chosen in (_ALL, *HALVES)}
            for value in self.contrasts:
                part = self.moments(value, null_of)[reading]
                for chosen in (_ALL, *HALVES):
                    some = part.folds(chosen)
                    poles = (some.positive.firing_rate(), some.negative.firing_rate())
                    rates[chosen.start].append(torch.stack(poles))
            self._rates[reading, null_of] = {start: torch.stack(of_values) for start, of_values in rates.items()}
        return self._rates[reading, null_of][folds.start]

    def _universal(self, site: str) -> Tensor:
        if site not in self._known_universal:
            encoded = [encode_prompt(self.subject.tokenizer, prompt) for prompt in self._neutral]
            self._known_universal[site] = universal_neurons(
                self.subject, encoded, site, batch_tokens=self._config.batch_tokens, journal=self.journal,
                progress=self._progress,
            )  # fmt: skip
        return self._known_universal[site]


def _followed(asked: Response, said: Response) -> Response:
    """A prompt, followed by what was said to another."""
    return replace(asked, token_ids=said.token_ids, text=said.text, finished=said.finished)
