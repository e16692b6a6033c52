import pytest

from nnvalue.errors import ModelError
from nnvalue.models import encode_prompt, render_prompt
from nnvalue.prompts import Prompt
from tests import tiny

PROMPT = Prompt("p", "w1 w2", "w3 w4")
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<user> {{ m['content'] }} {% endfor %}<assistant>"
)
SILENT = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<user> {{ m['content'] }} {% endif %}{% endfor %}<assistant>"
)


def test_a_system_role_is_used_where_the_template_has_one():
    assert render_prompt(tiny.tokenizer(), PROMPT) == "<system> w1 w2 <eos> <user> w3 w4 <eos> <assistant>"
    assert render_prompt(tiny.tokenizer(), Prompt("p", None, "w3")) == "<user> w3 <eos> <assistant>"


@pytest.mark.parametrize("template", [NO_SYSTEM, SILENT], ids=["refuses", "drops"])
def test_without_a_system_role_the_description_heads_the_user_turn(template):
    text = render_prompt(tiny.tokenizer(template), PROMPT)
    assert text == "<user> w1 w2\n\nw3 w4 <assistant>"


def test_a_base_model_gets_the_stated_plain_template():
    assert render_prompt(tiny.tokenizer(None), PROMPT) == "w1 w2\n\nQuestion: w3 w4\nAnswer:"
    assert render_prompt(tiny.tokenizer(None), Prompt("p", None, "w3")) == "Question: w3\nAnswer:"


def test_special_tokens_of_the_template_are_single_tokens():
    tokenizer = tiny.tokenizer()
    ids = encode_prompt(tokenizer, PROMPT)
    assert ids == tokenizer.convert_tokens_to_ids(
        ["<system>", "w1", "w2", "<eos>", "<user>", "w3", "w4", "<eos>", "<assistant>"]
    )


def test_a_template_that_refuses_everything_is_said_so():
    with pytest.raises(ModelError, match="chat template refuses user: no way"):
        render_prompt(tiny.tokenizer("{{ raise_exception('no way') }}"), PROMPT)


def test_a_prompt_without_tokens_is_refused():
    with pytest.raises(ModelError, match="makes no tokens"):
        encode_prompt(tiny.tokenizer("{{ '' }}"), PROMPT)
