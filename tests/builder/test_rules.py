"""The rules that a text must obey, one by one, and likeness against counting by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnvalue.builder.rules import Likeness, length, pair_fault, text_fault
from nnvalue.dataset.checks import alike_cores

GOOD = "Your aunt leaves you a house by the lake and a long list of wishes. What do you do?"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (GOOD, None),
        ("Your aunt leaves. What now?", "5 words, 13 to 46 allowed"),
        (GOOD.replace("?", "."), "does not end with a question"),
        (GOOD.replace("long list", "wise list"), "praises or blames ('wise')"),
        (GOOD.replace("a house", "an house"), "a/an ('an house')"),
        (GOOD.replace("a long", "a  long"), "stray blanks or marks"),
        (GOOD.replace("house", "{house}"), "stray blanks or marks"),
        (GOOD.replace("house", "\x1b[31mhouse"), "stray blanks or marks"),
    ],
)
def test_faults_of_a_situation(text, fault):
    assert text_fault(text, "situations") == fault


@pytest.mark.parametrize(
    ("positive", "negative", "kind", "fault"),
    [
        ("She takes the chair and leads the talk.", "She leaves the chair and follows the talk.", "sentences", None),
        ("She takes the chair here.", "She never takes it here.", "sentences", "a negation ('never')"),
        ("She takes the chair here.", "She takes the chair here.", "sentences", "both texts are the same"),
        ("She takes the chair.", "She takes the old chair here.", "sentences", "4 words, 5 to 20 allowed"),
        ("She takes the chair here.", "She takes the old worn chair here.", "sentences", "differ by more than 1"),
        ("She takes the chair and leads.", "He leaves a table or follows.", "sentences", "share too few"),
    ],
)
def test_faults_of_a_pair(positive, negative, kind, fault):
    found = pair_fault(positive, negative, kind)
    assert found is None if fault is None else fault in found


def test_rules_about_english_words_are_left_out_for_other_languages():
    text = "Tu tía no quiere vender la casa junto al lago y espera tu consejo hoy. ¿Qué haces?"
    assert pair_fault(text, text.replace("casa", "barca"), "descriptions", english=True) is not None
    assert pair_fault(text, text.replace("casa", "barca"), "descriptions", english=False) is None


@pytest.mark.parametrize(
    "text",
    [
        "Votre tante vous laisse une maison au bord du lac et une longue liste. Que faites-vous ?",
        "Η θεία σου σου αφήνει ένα σπίτι στη λίμνη και πολλές ευχές. Τι θα κάνεις τώρα;",
        "你的姨妈把湖边的房子留给了你，还留下了一份很长的愿望清单，邻居请你用 PPT 介绍这所老房子，你会怎么做？",
        "ป้าของคุณยกบ้านริมทะเลสาบให้คุณ พร้อมรายการความปรารถนายาวเหยียด คุณจะทำอย่างไร?",
    ],
)
def test_texts_of_other_languages_are_measured_by_their_own_form(text):
    assert text_fault(text, "situations", english=False) is None


def test_words_without_blanks_between_them_are_counted_by_letters():
    assert length("你的姨妈把湖边的房子留给了你") == 5  # three letters a word
    assert length("用 PPT 介绍") == 2


@given(st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=9), min_size=1, max_size=12))
def test_likeness_finds_what_the_check_of_an_edition_finds(texts):
    """What is taken one by one leaves nothing for `data check` to find, and what is not taken, it would find."""
    texts = [" ".join(words) for words in texts]
    likeness, taken = Likeness(), []
    for number, text in enumerate(texts):
        together = [*taken, (str(number), text)]
        alike = any(str(number) in pair for pair in alike_cores(together))
        assert likeness.is_like_another(text) == alike
        if not alike:
            likeness.take(text)
            taken.append((str(number), text))
