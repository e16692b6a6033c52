"""The forms in which portraits are put: both orders say the same thing."""

import pytest

from nnvalue.errors import UnknownNameError
from nnvalue.values.forms import FORMS, HIGH, LOW, forms


@pytest.mark.parametrize("name", ["rating", "choice"])
def test_the_two_orders_of_a_form_are_mirror_images(name):
    """An order whose scores were not turned round would count a liking for one option as a value."""
    first, second = forms(name)
    assert first.options == second.options
    assert first.scores == second.scores[::-1]
    assert {first.scores[0], first.scores[-1]} == {LOW, HIGH}


@pytest.mark.parametrize("form", FORMS)
def test_the_question_names_what_its_options_count(form):
    asked = form.ask("This person sings {loud}.")
    assert asked.startswith("This person sings {loud}. ")
    like, unlike = {"rating": ("just like you", "quite unlike you"), "choice": (": like me", ": unlike me")}[form.name]
    assert (asked.index(like) > asked.index(unlike)) == (form.scores[-1] == HIGH)


def test_an_unknown_form_is_named():
    with pytest.raises(UnknownNameError, match="no answer form 'essay'"):
        forms("essay")
