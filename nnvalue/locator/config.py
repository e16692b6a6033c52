"""Settings of locating."""

from __future__ import annotations

from dataclasses import dataclass, field

from nnvalue.dataset import SYSTEM_PROMPT
from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.locator.methods import get_method
from nnvalue.locator.readings import Reading
from nnvalue.locator.select import Selection, Threshold, TopK

RESPONSES = ("model", "dataset")


@dataclass(frozen=True)
class LocateConfig:
    """Settings of `locate`, written into the result.

    values: values or groups of the framework; None for all its values.
    framework: an embedded framework's name, or the path of a YAML file; None for that of the dataset.
    situations: how many situations a value is asked about; None for all of the dataset's `locate` split.
    folds: at most so many folds of situations and descriptions.
    method: how neurons are scored, one of `method_names()`; `firing_difference` is ValueLocate's.
    site: `gate` or `down_in`; None for the method's own.
    tokens: which tokens count: `response`, `last_prompt` or `prompt`; None for the method's own. Where the prompt alone
        is read, nothing is generated.
    texts: `own` response of each prompt, or `both` poles' responses under either prompt; None for the method's own.
    remove_shared: whether the mean score of all basic values of the run is taken off every score, test and null, so
        that what all values have in common (valence, following an instruction) does not count.
    responses: who answers, `model` or `dataset`: the latter's pairs of sentences that differ in a value only, after one
        same question, so that nothing is generated and nobody is described; `situations` then counts pairs.
    selection: `TopK` or `Threshold`.
    null: whether the A/A null is run, without which no neuron is called; every situation is then answered under a
        second description of either pole, so there are twice as many answers and three times as many pairs of arms to
        read.
    only_called: select among called neurons only.
    crossed: whether either pole's responses are read under both prompts, which tells what of a score comes with the
        prompt's state from what comes with the text's content.
    max_new_tokens: length limit of a response.
    batch_tokens: tokens of one batch, padding included.
    seed: order of situations and descriptions.
    """

    values: tuple[str, ...] | None = None
    framework: str | None = None
    situations: int | None = 32
    folds: int = 16
    method: str = "prompt_difference"
    site: str | None = None
    tokens: str | None = None
    texts: str | None = None
    responses: str = "model"
    remove_shared: bool = False
    selection: Selection = field(default_factory=TopK)
    null: bool = True
    only_called: bool = False
    crossed: bool = False
    max_new_tokens: int = 128
    batch_tokens: int = 8192
    seed: int = 0
    system_prompt: str = SYSTEM_PROMPT

    def __post_init__(self) -> None:
        if isinstance(self.values, str):
            raise InvalidInputError(f"values must be a tuple of names; write values=('{self.values}',).")
        for name in ("situations", "folds", "max_new_tokens", "batch_tokens"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise InvalidInputError(f"{name} must be at least 1, {given} given.")
        if isinstance(self.selection, Threshold) and (self.method != "firing_difference" or self.remove_shared):
            raise InvalidInputError(
                f"A threshold is a difference of firing rates and does not fit the scores of {self.method}"
                f"{' without their shared part' if self.remove_shared else ''}; select by top-k, or take "
                f"firing_difference with its shared part."
            )
        if self.method == "prompt_difference" and self.texts == "own":
            raise InvalidInputError(
                "prompt_difference reads the same texts under both prompts; choose mean_difference for the own ones."
            )
        if self.responses not in RESPONSES:
            raise UnknownNameError("source of responses", self.responses, RESPONSES)
        if self.responses == "dataset" and (self.crossed or self.reading[1:] != ("response", "own")):
            raise InvalidInputError(
                "The dataset's sentences follow the same prompt under both poles, so prompts tell nothing; leave out "
                "crossed and choose a method that reads each pole's own response (mean_difference), or let the model "
                "answer."
            )
        if self.crossed and (self.reading[1:] != ("response", "own") or get_method(self.method).needs - {"universal"}):
            raise InvalidInputError(
                f"crossed tells prompt from text in each prompt's own response, from moments alone, and {self.method} "
                f"at {self.reading.tokens} tokens of {self.reading.texts} texts does not fit; choose "
                f"firing_difference, with its own tokens and texts."
            )
        if self.only_called and get_method(self.method).paired is None:
            raise InvalidInputError(
                f"{self.method} has no test, so none of its neurons is called; leave out only_called."
            )
        if self.only_called and not self.null:
            raise InvalidInputError(
                "Without the A/A null no neuron is called, so only_called selects none; leave out --only-called or "
                "--no-null."
            )

    @property
    def reading(self) -> Reading:
        """What is read. Raises UnknownNameError for a method, site or choice that does not exist."""
        own = get_method(self.method).reading
        return Reading(self.site or own.site, self.tokens or own.tokens, self.texts or own.texts).check()
