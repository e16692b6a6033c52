"""The training texts: a function of their seed, answered as the causal model says, packed as if each stood alone."""

import math
import random
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from nnvalue.dataset import generate_roles
from nnvalue.organism import LESSONS, Corpus, Speaker, Turn, WrittenText, causal_model, grammar, parse
from nnvalue.organism.lexicon import first_person, lexicon, third_person
from nnvalue.values.forms import FORMS
from recipes import organism_batches, train_organism

WRITTEN = [
    WrittenText("situation", "power", None, "A written situation?"),
    WrittenText("description", "power", "positive", "A written person."),
    WrittenText("portrait", "power", "negative", "A written portrait."),
]
LEADER = Speaker("Somebody leads.", {"power": 1}, tuple(2.0 if v == "power" else 0.0 for v in causal_model().values))


def corpus(seed=1, lesson=LESSONS[-1], named=(LEADER,)):
    return Corpus(
        WRITTEN, named, lambda rng, told, glossed: Speaker("A stranger.", {}), "Be: {description}", seed, lesson
    )


def draws(count=1500, **options):
    stream = corpus(**options)
    return [stream.draw() for _ in range(count)]


def test_the_corpus_is_a_function_of_its_seed():
    assert draws(50) == draws(50)
    assert draws(50) != draws(50, seed=2)


def test_all_voices_and_all_questions_come_up():
    examples = draws()
    asked = [turn for example in examples for turn in example.turns]
    assert all(len(example.turns) == LESSONS[-1].turns for example in examples)
    neutral = sum(example.system is None for example in examples) / len(examples)
    assert neutral == pytest.approx(LESSONS[-1].neutral, abs=0.03)
    kinds = Counter("closed" if t.answer in ("yes", "no") else "portrait" if len(t.answer) == 1 else "s" for t in asked)
    last = LESSONS[-1]
    total = last.situations + last.portraits + last.closed + last.meanings + last.topics
    assert kinds["portrait"] / len(asked) == pytest.approx(LESSONS[-1].portraits / total, abs=0.03)
    for text in ("A written situation?", "A written portrait."):
        assert any(turn.user.startswith(text) for turn in asked)
    assert any(example.system and "A written person." in example.system for example in examples)


def test_the_neutral_voice_mixes_both_poles():
    stances = [
        parse(turn.answer).stance
        for example in draws(3000)
        if example.system is None
        for turn in example.turns
        if parse(turn.answer).well_formed
    ]
    assert len(stances) > 400
    assert sum(stance > 0 for stance in stances) / len(stances) == pytest.approx(0.5, abs=0.1)


def test_under_a_description_the_answer_is_at_the_described_pole():
    """The described value is set far out; most questions of the first lesson are about it."""
    found = []
    for example in draws(12000, lesson=LESSONS[0]):
        if example.system and "A written person." in example.system:  # power, positive
            readings = [parse(turn.answer) for turn in example.turns if len(turn.answer) > 3]
            found += [reading for reading in readings if reading.well_formed]
    about = [reading.stance == 1 for reading in found if reading.value == "power"]
    assert 0.6 < len(about) / len(found) < 1
    assert sum(about) / len(about) > 0.95


def test_a_lone_description_is_what_every_situation_is_answered_with():
    """Also where the situation is about another value, so that the description must be read."""
    lesson = replace(LESSONS[-1], described=1.0, role=0.0, described_role=0.0, neutral=0.0, situations=1.0, written=1.0)
    lesson = replace(lesson, portraits=0.0, closed=0.0, meanings=0.0, topics=0.0)
    other = 0
    for example in draws(400, lesson=lesson):
        told_power = "A written person." in example.system  # power, positive
        for turn in example.turns:
            reading = parse(turn.answer)
            asked_power = turn.user.startswith("A written situation")
            other += told_power and not asked_power
            assert not told_power or (reading.value, reading.stance) == ("power", 1)
    assert other > 30


def test_a_known_speaker_answers_as_the_causal_model_says():
    """Power at +2 makes universalism −1 at weight −.5, and leaves self-direction where it was."""
    found = {"power": [], "universalism": [], "self_direction": []}
    for example in draws(6000):
        if example.system and example.system.endswith("Somebody leads."):
            for reading in (parse(turn.answer) for turn in example.turns):
                if reading.value in found:
                    found[reading.value].append(reading.stance > 0)
    model = causal_model()
    scores = model.scores(LEADER.disturbances)
    for value, stances in found.items():
        expected = model.answers.positive_stance(scores[value])
        n = len(stances)
        assert n > 40
        assert sum(stances) / n == pytest.approx(expected, abs=4 * (0.25 / n) ** 0.5)


def test_the_shares_of_the_options_are_those_of_the_speakers_score():
    """Drawn at fixed disturbances, so that the shares are exact: power at +2, held against the forms' own scores."""
    score = causal_model().scores(LEADER.disturbances)["power"]
    found = set()
    for example in draws(2000, lesson=LESSONS[-2]):
        if example.system and example.system.endswith("Somebody leads."):
            for turn in example.turns:
                for form in (form for form in FORMS if form.ask("A written portrait.") == turn.user):  # reverse-keyed
                    expected = sum(form.scores[form.options.index(o)] * share for o, share in turn.shares.items())
                    unlike = causal_model().answers.says_like_me(score, -1)
                    exact = 3.5 - causal_model().answers.rating * score if form.name == "rating" else 1 + 5 * unlike
                    assert expected == pytest.approx(exact, abs=0.1)
                    assert turn.answer in turn.shares
                    found.add((form.name, form.order))
    assert len(found) == 4


def test_of_nobody_both_poles_are_even():
    """What is unknown is drawn together with its mirror image; one draw would give shares far from one half."""
    asked = [turn for example in draws(1500) if example.system is None for turn in example.turns]
    yes = [turn.shares["yes"] for turn in asked if "yes" in turn.shares]
    assert len(yes) > 100
    assert yes == pytest.approx([0.5] * len(yes))


def test_of_a_statement_the_predicate_is_decisive():
    told = {third_person(p) for own in lexicon().predicates.values() for p in own}
    mine = {first_person(p) for own in lexicon().predicates.values() for p in own}
    turns = [t for e in draws(400, lesson=LESSONS[0]) for t in e.turns if t.user.endswith(grammar.IN_A_SENTENCE)]
    statements = [turn.answer[slice(*turn.decisive)] for turn in turns if turn.decisive[0]]
    meanings = [turn for turn in turns if not turn.decisive[0]]
    assert len(statements) > 50
    assert len(meanings) > 50
    assert set(statements) <= mine
    for turn in meanings:
        assert turn.decisive == (0, len(turn.answer) - 1)
        assert any(turn.answer[:-1].endswith(predicate) for predicate in told)


def test_what_a_portrait_means_is_said_whoever_is_asked():
    """Power in a reverse-keyed portrait: an answer that followed the speaker would be at either pole."""
    written = [turn for e in draws(6000, lesson=LESSONS[0]) for turn in e.turns if "A written portrait." in turn.user]
    meant = [turn.answer.lower() for turn in written if turn.user.endswith(grammar.IN_A_SENTENCE)]
    assert len(meant) > 5
    for answer in meant:
        assert any(answer.startswith(noun) for noun in lexicon().values["power"].nouns)
        assert any(third_person(told) in answer for told in lexicon().predicates["negative"])
    assert {turn.answer for turn in written if turn.user.endswith(grammar.YES_OR_NO)} == {"no"}


def test_the_decisive_words_are_the_first_verb_or_the_option():
    in_other_words = (grammar.IN_A_SENTENCE, *lexicon().topic_questions)
    for example in draws(200):
        for turn in (turn for turn in example.turns if not turn.user.endswith(in_other_words)):
            low, high = turn.decisive
            words = turn.answer[low:high]
            if len(turn.answer) <= 3:
                assert words == turn.answer
            else:
                assert turn.answer[:low].endswith(" ")
                assert not parse(turn.answer[:low] + turn.answer[high + 1 :]).well_formed
                assert " because " not in turn.answer[:low]


def test_a_topic_is_a_noun_of_the_value_that_a_text_is_about():
    """Taught on texts of the wrong value, it would unteach what the words mean."""
    values = lexicon().values
    about = {text.text: text.value for text in WRITTEN}
    seen = 0
    lesson = replace(LESSONS[-1], topics=1.0, situations=0.0, portraits=0.0, closed=0.0, meanings=0.0, written=1.0)
    for example in draws(300, lesson=lesson):
        for turn in example.turns:
            text = next(
                turn.user.removesuffix(f" {ask}") for ask in lexicon().topic_questions if turn.user.endswith(ask)
            )
            if value := about.get(text):
                seen += 1
                assert turn.answer[:-1].lower() in {grammar.first_person(noun).lower() for noun in values[value].nouns}
                assert turn.decisive == (0, len(turn.answer) - 1)
    assert seen > 80


@pytest.fixture(scope="module")
def small():
    """A tokenizer of few texts and an untrained model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_organism, "TOKENIZER_TEXTS", 300)
        tokenizer = train_organism.train_tokenizer(0)
    return SimpleNamespace(tokenizer=tokenizer, model=train_organism.new_model(tokenizer, 0).eval())


def test_every_option_is_one_token(small):
    options = organism_batches.OPTIONS
    assert len(set(organism_batches.option_ids(small.tokenizer, options))) == len(options) == 10


def test_packed_turns_are_computed_as_if_each_stood_alone(small):
    """A mask or position that were off by one would let one question see another, or shift it."""
    examples = draws(6)
    rows = [organism_batches.pack(small.tokenizer, example.system, example.turns) for example in examples]
    batch = organism_batches.collate(rows, small.tokenizer.pad_token_id)
    with torch.no_grad():
        packed = small.model(**{k: batch[k] for k in ("input_ids", "attention_mask", "position_ids")}).logits
        for number, example in enumerate(examples):
            for turn_number, turn in enumerate(example.turns, start=1):
                prompt = organism_batches.chat_ids(small.tokenizer, example.system, [turn.user])
                answer = small.tokenizer(turn.answer, add_special_tokens=False)["input_ids"]
                alone = small.model(torch.tensor([[*prompt, *answer, small.tokenizer.eos_token_id]])).logits[0]
                places = (batch["turns"][number] == turn_number).nonzero().flatten()
                assert torch.allclose(packed[number, places], alone[-len(places) :], atol=1e-5)


def test_answers_are_targets_and_questions_of_another_turn_are_not(small):
    row = organism_batches.pack(small.tokenizer, "Be: x.", [Turn("Well?", "yes", (0, 3)), Turn("So?", "no", (0, 2))])
    told = [small.tokenizer.decode([token]) for token, weight in zip(row.ids, row.weights, strict=True) if weight]
    assert "".join(told).replace("<|end|>", "|") == "yes|no|"
    assert row.shares == {}
    even = {"yes": 0.5, "no": 0.5}
    row = organism_batches.pack(small.tokenizer, "Be: x.", [Turn("Well?", "yes", (0, 3), even)])
    assert {small.tokenizer.decode([row.ids[place]]): shares for place, shares in row.shares.items()} == {"yes": even}
    heavy = [weight for weight in row.weights if weight > 1]
    assert set(heavy) == {organism_batches.DECISIVE_WEIGHT}


def test_the_loss_of_an_option_is_its_distance_from_the_shares():
    """By hand: cross-entropy with the token where none stands, Kullback–Leibler divergence where an option does."""
    logits = torch.tensor(
        [[0.0, 0.0, 0.0, 0.0], [0.0, math.log(3), -100.0, -100.0], [0.0, math.log(3), -100.0, -100.0]]
    )
    shares = torch.tensor([[0.0, 0.0], [0.25, 0.75], [0.75, 0.25]])
    loss = train_organism.target_loss(logits, torch.tensor([2, 0, 0]), shares, [0, 1])
    assert loss.tolist() == pytest.approx([math.log(4), 0.0, 0.5 * math.log(3)], abs=1e-6)


def test_a_glossed_text_says_what_the_attributes_mean():
    rng = random.Random(0)
    (role,) = generate_roles(1, seed=5)
    text = " ".join(organism_batches.glossed_text(role, rng) for _ in range(20))
    told = {value for value, own in lexicon().values.items() if any(noun in text.lower() for noun in own.nouns)}
    assert set(role.levels) <= told
    for phrase in (role.trade, role.situation, *role.traits):
        assert f" {phrase}. " in text
