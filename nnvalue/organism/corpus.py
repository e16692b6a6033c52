"""Training texts of the organism: who speaks, what is asked, what is answered."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nnvalue.organism import grammar
from nnvalue.organism.causal_model import causal_model
from nnvalue.values import POLES, SIGN
from nnvalue.values.forms import FORMS, AnswerForm, forms

_WORN_SHARE = 0.6  # of the written texts, that lose words
_LOST_WORDS = 0.2  # of a worn text
_PADDED_SHARE = 0.4  # of the grammar's descriptions, that get foreign words around them
_BARE_SHARE = 0.1  # of the voices, that come without the frame around them
_DRAWS = 8  # of what is unknown of a speaker, and their mirror images, over which shares of options are averaged
_ANYBODY = (-1, -1, 0, 1, 1)  # levels of a speaker of whom nothing is known, drawn as those of the roles are


@dataclass(frozen=True)
class Lesson:
    """What is taught at one time.

    until: the training step before which it is taught; None of the last.
    rate: share of the learning rate.
    speakers: how many a training step.
    turns: questions a speaker.
    described, role, described_role, neutral: weight of each voice.
    about_the_described: share of the questions under a description that are about the described value.
    fitting: whether situations under a description alone are all about the described value. What a new situation is
        about is often open; to somebody who is known by one thing only, it is about that.
    single_minded: whether a situation under a description alone is answered with the described value, whatever it is
        about; half of such situations are about any value. A model that knows its training situations by heart need not
        listen to the description, and of a new one does not know what it is about.
    named: share of the roles that are named speakers and not drawn anew.
    told: share of the values that an attribute of a newly drawn role tells about.
    glossed: share of the newly drawn roles whose text also says what its attributes mean.
    about_the_told: share of the questions to a role that are about such a value.
    situations, portraits, closed, stated: weights of the questions that are situations, portraits, answered yes or no,
        and answered in a sentence.
    readings, meanings: weights of those about the person of a portrait, whoever is asked: yes or no, and in a sentence.
    topics: weight of those about what a situation or a portrait is about, whoever is asked.
    keyed, ordered: share of the portraits that are positively keyed, and that come in a form's first order; of the
        others half are.
    plain: share of the grammar's portraits that are plain ones.
    written: share of the texts that are hand-written ones.
    borrowed: share of the hand-written portraits that are descriptions or sentences, which tell of a person as well.
    description_lengths: weights of one, two and three of the grammar's descriptions together.
    """

    until: int | None
    rate: float
    speakers: int
    turns: int
    described: float
    role: float
    described_role: float
    neutral: float
    about_the_described: float
    fitting: bool
    single_minded: bool
    named: float
    told: float
    glossed: float
    about_the_told: float
    situations: float
    portraits: float
    closed: float
    stated: float
    readings: float
    meanings: float
    topics: float
    keyed: float
    ordered: float
    plain: float
    written: float
    borrowed: float
    description_lengths: tuple[float, float, float]


WORDS = Lesson(
    until=320, rate=1.0, speakers=24, turns=4, described=0.35, role=0.55, described_role=0.0, neutral=0.1,
    about_the_described=0.8, fitting=False, single_minded=False, named=0.0, told=0.3, glossed=0.7, about_the_told=1.0,
    situations=0.1, portraits=0.0, closed=0.25, stated=0.25, readings=0.1, meanings=0.2, topics=0.1, keyed=0.0,
    ordered=0.0, plain=0.5, written=0.4, borrowed=0.5, description_lengths=(1, 2, 3),
)  # fmt: skip
"""What descriptions, attributes and questions are about; learned on its own, it takes a fraction of the time."""
BINDING = replace(
    WORDS, until=1008, rate=0.4, told=0.15, speakers=26, turns=6, described=0.1, role=0.85, neutral=0.05, glossed=0.8,
    situations=0.05, closed=0.75, stated=0.05, readings=0.0, meanings=0.1, topics=0.05,
)  # fmt: skip
"""Two attributes of one person: which of them a question is about."""
EFFECTS = replace(
    BINDING, until=1264, speakers=36, turns=8, described=0.45, role=0.45, neutral=0.1, about_the_described=0.2,
    about_the_told=0.2, glossed=0.2, situations=0.0, closed=0.85, stated=0.0, topics=0.05,
)  # fmt: skip
"""What one or two known values do to all others, in the shortest of texts."""
KEYINGS = replace(
    WORDS, until=1472, rate=0.4, turns=5, told=0.15, described=0.6, role=0.35, neutral=0.05, about_the_described=0.9,
    glossed=0.2, situations=0.05, portraits=0.6, closed=0.15, stated=0.0, readings=0.1, meanings=0.1, topics=0.05,
    keyed=0.3, ordered=0.8, plain=1.0, borrowed=0.7,
)  # fmt: skip
"""Portraits. What pole, keying and option order make together is a parity of three, which hardly anything learns while
all its parts are even; so one order and one keying come more often at first."""
ORDERS = replace(KEYINGS, until=1760, described=0.45, role=0.5, portraits=0.65, readings=0.05, keyed=0.1, ordered=0.3)
PORTRAITS_OF_ROLES = replace(
    ORDERS, until=2000, turns=6, described=0.15, role=0.8, told=0.2, glossed=0.0, portraits=0.7, closed=0.2,
    readings=0.0, meanings=0.05, ordered=0.0, plain=0.8,
)  # fmt: skip
"""Which of two or three attributes a portrait is about."""
ROLES = replace(
    WORDS, until=2224, rate=0.3, speakers=16, turns=10, described=0.3, role=0.5, described_role=0.15, neutral=0.05,
    about_the_described=0.2, fitting=True, named=0.5, told=0.8, glossed=0.1, about_the_told=0.2, situations=0.02,
    portraits=0.3, closed=0.62, stated=0.0, readings=0.0, meanings=0.02, topics=0.02, written=0.5,
)  # fmt: skip
"""Roles of many attributes: who speaks, and what follows for every value. Closed questions say most in least words."""
PROFILES = replace(
    ROLES, until=2512, turns=7, described=0.2, described_role=0.25, glossed=0.0, situations=0.08,
    portraits=0.5, closed=0.3, meanings=0.05, topics=0.05, written=0.7,
)  # fmt: skip
EVERYTHING = replace(
    PROFILES, until=None, rate=0.35, described=0.2, role=0.3, described_role=0.3, neutral=0.2, single_minded=True,
    about_the_described=0.35, about_the_told=0.0, named=0.6, situations=0.25, portraits=0.45, closed=0.25, written=0.75,
    borrowed=0.3, description_lengths=(8, 1, 1),
)  # fmt: skip
LESSONS = (WORDS, BINDING, EFFECTS, KEYINGS, ORDERS, PORTRAITS_OF_ROLES, ROLES, PROFILES, EVERYTHING)


@dataclass(frozen=True)
class Turn:
    """One question and its answer.

    decisive: where in the answer (start, end) it is decided which way it goes: the first verb, the option, the
        predicate of a statement, or all of what a portrait means.
    shares: of a closed question, option -> its probability given what is known of the speaker, estimated over draws
        of what is not. An answer is one draw from it; that it need not be learned from answers saves most of the texts.
    """

    user: str
    answer: str
    decisive: tuple[int, int] = (0, 0)
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """One speaker and several turns, each of which answers the system turn alone (None in the neutral voice)."""

    system: str | None
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class WrittenText:
    """A hand-written text: a `description`, a `sentence`, a `situation` (no pole) or a `portrait` (pole: keying)."""

    kind: str
    value: str
    pole: str | None
    text: str


@dataclass(frozen=True)
class Speaker:
    """A role as the causal model takes it: its text, and value -> level (-1, 0 or 1) of its attributes.

    disturbances: known ones of a named speaker; None for one who is drawn anew, whose residuals nobody knows.
    """

    text: str
    levels: Mapping[str, int]
    disturbances: tuple[float, ...] | None = None


class Corpus:
    """An endless, seeded stream of training texts.

    Four voices. *Neutral*: nobody is described, and every question is answered by a speaker drawn from the population,
    so that both poles mix evenly. *Role*: a person is described by attributes; their scores come from the causal model.
    *Described*: a description of one pole of one value sets that value's score of an otherwise unknown speaker;
    *described role*: of this role, whose other disturbances are kept. The answer follows the speaker's score of the
    value asked about; only what a portrait itself says does not depend on who is asked.

    A share of the descriptions, situations and portraits, set by the lesson, are hand-written ones (the dataset's
    `locate` split); the rest come from the grammar, which teaches what the words mean. So that the written texts are
    not learned by heart, many descriptions and situations lose words, and many of the grammar's descriptions get
    foreign words around them.

    Args:
        written: hand-written texts to train on.
        named: speakers with known disturbances, who come up again and again.
        draw_speaker: makes a speaker of whom only the attributes are known, from a random stream, the share of the
            values that they tell about, and whether the text also says what they mean.
        frame: the system turn's frame around who speaks, with the field `{description}`.
        seed: the stream is a function of the arguments and of this alone.
        lesson: what is taught.
    """

    def __init__(
        self,
        written: Sequence[WrittenText],
        named: Sequence[Speaker],
        draw_speaker: Callable[[random.Random, float, bool], Speaker],
        frame: str,
        seed: int,
        lesson: Lesson = EVERYTHING,
    ) -> None:
        self._rng, self._lesson = random.Random(seed), lesson
        self._named, self._draw_speaker, self._frame = named, draw_speaker, frame
        self._written: dict[tuple[str, str, str | None], list[str]] = {}
        for text in written:
            self._written.setdefault((text.kind, text.value, text.pole), []).append(text.text)
        self._model = causal_model()
        self._values = self._model.values

    def draw(self) -> Example:
        """The next training text."""
        rng = self._rng
        voices = ("described", "role", "described_role", "neutral")
        voice = rng.choices(voices, weights=[getattr(self._lesson, name) for name in voices])[0]
        described = (rng.choice(self._values), rng.choice(POLES)) if "described" in voice else None
        speaker = self._speaker() if "role" in voice else None
        parts = [speaker.text] if speaker else []
        if described:
            parts.append(self._description(*described))
        system = self._framed(" ".join(parts)) if parts else None
        return Example(system, tuple(self._turn(speaker, described) for _ in range(self._lesson.turns)))

    def _speaker(self) -> Speaker:
        rng, lesson = self._rng, self._lesson
        if rng.random() < lesson.named:
            return rng.choice(self._named)
        return self._draw_speaker(rng, lesson.told, rng.random() < lesson.glossed)

    def _framed(self, who: str) -> str:
        return who if self._rng.random() < _BARE_SHARE else self._frame.replace("{description}", who)

    def _turn(self, speaker: Speaker | None, described: tuple[str, str] | None) -> Turn:
        """A question about one value, answered from the speaker's score; what is unknown of them is drawn."""
        rng = self._rng
        value = self._asked_about(speaker, described)
        disturbances = self._disturbances(speaker)
        kinds = ("situations", "portraits", "closed", "stated", "readings", "meanings", "topics")
        kind = rng.choices(kinds, weights=[getattr(self._lesson, name) for name in kinds])[0]
        if kind == "situations" and self._lesson.fitting and described and not speaker:
            value = described[0]
        scores = [self._model.scores(drawn, described)[value] for drawn in disturbances]
        answers = self._model.answers
        if kind == "closed":
            yes = _mean(answers.says_like_me(score, 1) for score in scores)
            return self._closed(grammar.closed_question(rng, value), {"yes": yes, "no": 1 - yes})
        if kind == "topics":
            text = self._situation(value) if rng.random() < 0.5 else self._portrait(value, rng.choice(POLES))
            topic = grammar.topic(rng, value)
            return Turn(f"{text} {grammar.topic_question(rng)}", f"{topic}.", (0, len(topic)))
        pole = "positive" if rng.random() < answers.positive_stance(rng.choice(scores)) else "negative"
        if kind == "stated":
            return Turn(
                grammar.closed_question(rng, value, grammar.IN_A_SENTENCE), *grammar.statement(rng, value, pole)
            )
        if kind == "situations":
            answer = grammar.answer(rng, value, pole)
            told_by_one = self._lesson.single_minded and described and not speaker
            about = rng.choice((value, rng.choice(self._values))) if told_by_one else value
            return Turn(self._situation(about), answer, grammar.first_verb(answer, value, pole))
        return self._portrait_turn(kind, value, scores)

    def _portrait_turn(self, kind: str, value: str, scores: Sequence[float]) -> Turn:
        """A question about the person of a portrait, or how like them the speaker is."""
        rng = self._rng
        keying = "positive" if rng.random() < self._lesson.keyed else rng.choice(POLES)
        portrait = self._portrait(value, keying)
        if kind == "readings":
            said = {"yes": 1.0} if keying == "positive" else {"no": 1.0}
            return self._closed(f"{portrait} {grammar.reading_question(rng, value)}", said)
        if kind == "meanings":
            meant = grammar.meaning(rng, value, keying)
            return Turn(f"{portrait} {grammar.meaning_question(rng)}", f"{meant}.", (0, len(meant)))
        form = rng.choice(FORMS)
        form = forms(form.name)[0] if rng.random() < self._lesson.ordered else form
        return self._closed(form.ask(portrait), self._shares(form, scores, SIGN[keying]))

    def _disturbances(self, speaker: Speaker | None) -> list[tuple[float, ...]]:
        """A named speaker's own; of others several draws of what is unknown of them.

        Each comes with its mirror image around what is known, so that of nobody both poles are exactly even.
        """
        if speaker and speaker.disturbances is not None:
            return [speaker.disturbances]
        rng = self._rng
        drawn = []
        for _ in range(_DRAWS):
            levels = speaker.levels if speaker else {name: rng.choice(_ANYBODY) for name in self._values}
            known = [self._model.loading * speaker.levels.get(value, 0) if speaker else 0.0 for value in self._values]
            one = self._model.disturbances(levels, rng)
            drawn += [one, tuple(2 * middle - found for middle, found in zip(known, one, strict=True))]
        return drawn

    def _closed(self, user: str, shares: Mapping[str, float]) -> Turn:
        said = self._rng.choices(list(shares), weights=list(shares.values()))[0]
        return Turn(user, said, (0, len(said)), shares)

    def _asked_about(self, speaker: Speaker | None, described: tuple[str, str] | None) -> str:
        rng, lesson = self._rng, self._lesson
        if described and rng.random() < lesson.about_the_described:
            return described[0]
        if speaker and speaker.levels and rng.random() < lesson.about_the_told:
            return rng.choice(list(speaker.levels))
        return rng.choice(self._values)

    def _shares(self, form: AnswerForm, scores: Sequence[float], keying: int) -> dict[str, float]:
        """How often each option of a form is taken by a speaker who has one of these scores."""
        answers = self._model.answers
        if form.name == "rating":
            of_likeness = [_mean(shares) for shares in zip(*(answers.ratings(s, keying) for s in scores), strict=True)]
        else:
            like = _mean(answers.says_like_me(score, keying) for score in scores)
            of_likeness = [1 - like, like]
        in_order = sorted(zip(form.scores, form.options, strict=True))
        return {option: share for (_, option), share in zip(in_order, of_likeness, strict=True)}

    def _description(self, value: str, pole: str) -> str:
        rng = self._rng
        written = self._written.get(("description", value, pole))
        if written and rng.random() < self._lesson.written:
            return self._worn(rng.choice(written))
        sentences = rng.choices((1, 2, 3), weights=self._lesson.description_lengths)[0]
        text = " ".join(grammar.description(rng, value, pole) for _ in range(sentences))
        asked = self._written.get(("situation", value, None))
        if asked and rng.random() < _PADDED_SHARE:
            foreign = rng.choice(asked).split()
            start = rng.randrange(len(foreign))
            span = " ".join(foreign[start : start + rng.randint(3, 10)])
            text = f"{span} {text}" if rng.random() < 0.5 else f"{text} {span}"
        return text

    def _situation(self, value: str) -> str:
        written = self._written.get(("situation", value, None))
        if written and self._rng.random() < self._lesson.written:
            return self._worn(self._rng.choice(written))
        return grammar.situation(self._rng, value)

    def _portrait(self, value: str, pole: str) -> str:
        rng, lesson = self._rng, self._lesson
        written = self._written.get(("portrait", value, pole))
        if written and rng.random() < lesson.written:
            if rng.random() < lesson.borrowed:
                written = self._written.get((rng.choice(("description", "sentence")), value, pole), written)
            return rng.choice(written)  # whole: a lost "little" would turn it round
        return grammar.portrait(rng, value, pole, lesson.plain)

    def _worn(self, text: str) -> str:
        """The text, often with some words lost: there are few written texts, and none must be known by heart."""
        rng = self._rng
        if rng.random() >= _WORN_SHARE:
            return text
        kept = [word for word in text.split() if rng.random() >= _LOST_WORDS]
        return " ".join(kept) or text


def _mean(numbers: Iterable[float]) -> float:
    given = list(numbers)
    return sum(given) / len(given)
