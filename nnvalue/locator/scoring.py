"""From what was gathered to value neurons by one method: score, test, select, and the numbers beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nnvalue.findings import ValueNeurons, build_table
from nnvalue.locator.config import LocateConfig
from nnvalue.locator.gathering import Gathering, ReadingMoments
from nnvalue.locator.likeness import between_values
from nnvalue.locator.methods import Evidence, Poles, get_method
from nnvalue.locator.quantiles import exact_quantiles
from nnvalue.locator.response_table import responses_parquet
from nnvalue.locator.score import cohens_d, split_half_reliability
from nnvalue.locator.select import FIXED_THRESHOLDS, select_neurons
from nnvalue.locator.significance import LEVEL, called, null_bar, paired_test, q_values
from nnvalue.values import POLES, Framework

_ALL = slice(None)


class Scoring:
    """One method's part of a run, value by value."""

    def __init__(
        self, gathering: Gathering, config: LocateConfig, framework: Framework, step_done: Callable[[int], None]
    ) -> None:
        self._gathering, self._config, self._framework, self._step_done = gathering, config, framework, step_done
        self._method, self._reading = get_method(config.method), config.reading
        self._known_shared: dict[tuple[int | None, str | None, str | None], Tensor] = {}

    def value_neurons(self, values: Sequence[str], spec: dict[str, Any]) -> ValueNeurons:
        """The result; `spec` goes into its configuration."""
        rows: list[tuple[Any, ...]] = []
        maps: dict[str, list[Tensor]] = {}
        facts = {}
        for number, value in enumerate(values):
            members = self._framework.members(value)
            parts = [self._gathering.moments(name) for name in members]
            one = parts[0][self._reading]
            positive, negative = self._pooled(parts)
            found = {
                "score": self._score(members, parts),
                "firing_positive": positive.firing_rate(),
                "firing_negative": negative.firing_rate(),
                "effect_size": cohens_d(positive, negative),
            }
            statistics = {
                f"{name}_{pole}": kept
                for pole, moments in zip(POLES, (positive, negative), strict=True)
                for name, kept in (("mean", moments.mean()), ("sd", moments.variance().sqrt()))
            }
            found["q"], is_called, significance = self._significance(members, parts, found)
            crossed = self._crossed(members) if self._config.crossed else {}
            ranked = found["score"].masked_fill(~is_called, 0) if self._config.only_called else found["score"]
            poles = select_neurons(ranked, self._config.selection)
            rows += self._selected(number, value, found, is_called, poles, one.dtype)
            for name, kept in (found | statistics | crossed).items():
                maps.setdefault(name, []).append(kept.float())
            maps.setdefault("called", []).append(is_called.to(torch.uint8))
            halves = [part[self._reading] for part in parts]
            facts[value] = {
                "members": members,
                "situations": sum(len(self._gathering.contrasts[name]) for name in members),
                "folds": sum(len(part.positive.tokens) for part in halves),
                "tokens": {"positive": int(positive.tokens.sum()), "negative": int(negative.tokens.sum())},
                "split_half_r": split_half_reliability(halves, partial(self._score, members, parts)),
                "significance": significance,
                "crossed": self._crossed_facts(found["score"], poles, **crossed) if crossed else None,
                "activation_dtype": one.dtype,
            }
        whole = ValueNeurons(
            tuple(values),
            build_table(rows),
            {name: torch.stack(kept).numpy() for name, kept in maps.items()},
            {**spec, "counts": facts},
            responses_parquet(self._gathering),
        )
        between = between_values(whole, self._framework, self._config.seed)
        return replace(whole, config={**whole.config, "between_values": between})

    def _evidence(
        self, members: Sequence[str], parts: Sequence[ReadingMoments], folds: slice = _ALL, null_of: str | None = None
    ) -> Any:
        return self._gathering.evidence(self._method, self._reading, members, parts, folds, null_of)

    def _pooled(self, parts: Sequence[ReadingMoments]) -> Poles:
        """Both poles' moments over all members."""
        return Evidence({self._reading: [part[self._reading] for part in parts]}, {}, ()).pooled(self._reading)

    def _score(
        self, members: Sequence[str], parts: Sequence[ReadingMoments], folds: slice = _ALL, null_of: str | None = None
    ) -> Tensor:
        score = self._method.score(self._evidence(members, parts, folds, null_of), self._reading)
        return score - self._shared(folds, null_of) if self._config.remove_shared else score

    def _shared(self, folds: slice, null_of: str | None, effect: str | None = None) -> Tensor:
        """Mean score of all basic values of the run, `[layer, neuron]`; of a crossed run's effect if one is named."""
        key = (folds.start, null_of, effect)
        if key not in self._known_shared:
            total = torch.zeros(())
            for name in self._gathering.contrasts:
                part = self._gathering.crossed(name)[effect] if effect else self._gathering.moments(name, null_of)
                total = total + self._method.score(self._evidence([name], [part], folds, null_of), self._reading)
            self._known_shared[key] = total / len(self._gathering.contrasts)
        return self._known_shared[key]

    def _paired(self, members: Sequence[str], parts: Sequence[ReadingMoments]) -> list[tuple[Tensor, Tensor]]:
        """What the test is about: its mean over contrasts `[layer, neuron]`, and in every fold that has any.

        Of each member; nothing if there is no test.

        Without the shared part it is a weighted sum over all basic values of the run, whose weights are 1/members for a
        member and −1/values for every value; each counts as a member that is multiplied by its weight.
        """
        if self._method.paired is None:
            return []
        weights = dict.fromkeys(members, 1.0)
        known = dict(zip(members, parts, strict=True))
        if self._config.remove_shared:
            names = list(self._gathering.contrasts)
            weights = {name: weights.get(name, 0.0) - len(members) / len(names) for name in names}
        found = []
        for name, weight in weights.items():
            part = known.get(name) or self._gathering.moments(name)
            paired = getattr(part[self._reading], self._method.paired)
            folds = paired.fold_means()
            if len(folds) < 2:
                return []
            found.append((paired.mean() * weight, folds * weight))
        return found

    def _significance(
        self, members: Sequence[str], parts: Sequence[ReadingMoments], found: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Any] | None]:
        """Of each neuron q and whether it is called, `[layer, neuron]`, and the figures.

        Without a test q is 1; without a test or a null no neuron is called.
        """
        score, nobody = found["score"], torch.zeros_like(found["score"], dtype=torch.bool)
        paired = self._paired(members, parts)
        if not paired:
            return torch.ones_like(score), nobody, None
        q = q_values(paired_test([folds for _, folds in paired]))
        if not self._gathering.null_poles:
            return q, nobody, None
        scores, deltas = [], []
        for pole in self._gathering.null_poles:
            null = [self._gathering.moments(name, pole) for name in members]
            scores.append(self._score(members, null, null_of=pole))
            one, other = self._pooled(null)
            deltas.append(one.firing_rate() - other.firing_rate())
        bar, delta_bar = null_bar(scores), null_bar(deltas)
        difference = torch.stack([mean for mean, _ in paired]).sum(0)
        is_called = called(score, difference, q, bar)
        delta = (found["firing_positive"] - found["firing_negative"]).abs()
        counts = {pole: int((is_called & (sign * score > 0)).sum()) for sign, pole in zip((1, -1), POLES, strict=True)}
        return (
            q,
            is_called,
            {
                "bar": bar,
                "called": counts,
                "q_alone": int((q < LEVEL).sum()),
                "delta_bar": delta_bar,
                "delta_beyond": {f"{bound:.2f}": int((delta >= bound).sum()) for bound in FIXED_THRESHOLDS},
            },
        )

    def _crossed(self, members: Sequence[str]) -> dict[str, Tensor]:
        """The score of the prompt's state and that of the text's content, `[layer, neuron]` each."""
        crossed = [self._gathering.crossed(name) for name in members]
        found = {}
        for effect in crossed[0]:
            parts = [part[effect] for part in crossed]
            score = self._method.score(self._evidence(members, parts), self._reading)
            if self._config.remove_shared:
                score = score - self._shared(_ALL, None, effect)
            found[f"score_{effect}"] = score
        return found

    def _crossed_facts(
        self, score: Tensor, poles: Sequence[Tensor], score_prompt: Tensor, score_text: Tensor
    ) -> dict[str, float | None]:
        """Which share of the selected neurons' score either carries, and how either map correlates with the score's."""
        chosen = torch.cat(list(poles)).unbind(1)
        weight = score[chosen].sign()
        total = float((weight * score[chosen]).sum())
        facts: dict[str, float | None] = {}
        for effect, part in (("prompt", score_prompt), ("text", score_text)):
            r = torch.corrcoef(torch.stack((score.flatten(), part.flatten())))[0, 1]
            facts[f"{effect}_share"] = float((weight * part[chosen]).sum()) / total if total else None
            facts[f"{effect}_r"] = float(r) if r.isfinite() else None
        return facts

    def _selected(
        self,
        number: int,
        value: str,
        found: dict[str, Tensor],
        is_called: Tensor,
        poles: Sequence[Tensor],
        dtype: str,
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of the table: the selected neurons of both poles with their numbers and 95th percentiles."""
        delta = found["firing_positive"] - found["firing_negative"]
        columns = (found["score"], delta, *(found[name] for name in list(found)[1:]), is_called)
        for sign, pole, neurons in zip((1, -1), POLES, poles, strict=True):
            q95 = self._quantiles(value, pole, neurons, dtype) if len(neurons) else torch.empty(0)
            self._step_done(1)
            layer, neuron = neurons.unbind(1)
            numbers = (layer, neuron, *(column[layer, neuron] for column in columns), q95)
            for cells in zip(*(column.tolist() for column in numbers), strict=True):
                yield number, sign, *cells

    def _quantiles(self, value: str, pole: str, neurons: Tensor, dtype: str) -> Tensor:
        """95th percentile of chosen neurons over the counted tokens of one pole, `[k]`."""
        members = self._framework.members(value)
        return exact_quantiles(
            self._gathering.subject,
            [response for name in members for response in self._gathering.responses(name, pole)],
            self._reading.site,
            neurons,
            tokens=self._reading.tokens,
            dtype=dtype,
            batch_tokens=self._config.batch_tokens,
            journal=self._gathering.journal,
            journal_key=f"{self._config.method}-{value}-{pole}-q95",
            progress=self._gathering.stage(value, pole),
        )
