import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, MixtralConfig

from nnvalue.errors import ModelError, UnknownNameError
from nnvalue.models import ModulePaths, known_families, open_model, resolve_anatomy
from tests import tiny


def test_every_known_family_is_tested():
    assert set(known_families()) == set(tiny.FAMILIES)


def test_anatomy_names_the_real_activation_function(subjects):
    others = {
        "gemma2": "GELUTanh", "gemma3_text": "GELUTanh", "gpt2": "NewGELUActivation", "gpt_neox": "GELUActivation",
        "opt": "ReLU",
    }  # fmt: skip
    for family, subject in subjects.items():
        assert subject.anatomy.activation == others.get(family, "SiLUActivation")
        assert (subject.anatomy.layers, subject.anatomy.width) == (tiny.LAYERS, tiny.WIDTH)
        assert len(subject.anatomy.gate) == len(subject.anatomy.down_in) == len(subject.anatomy.block) == tiny.LAYERS


def test_anatomy_is_resolved_without_weights():
    with torch.device("meta"):
        module = AutoModelForCausalLM.from_config(tiny.config("gpt2"))
    assert resolve_anatomy(module, module.config).width == tiny.WIDTH


def test_a_site_that_does_not_exist_names_the_two_that_do(llama):
    with pytest.raises(UnknownNameError, match="choose from down_in, gate"):
        llama.anatomy.sites("up")


@pytest.fixture
def stranger():
    config = AutoConfig.for_model("gpt_neo", vocab_size=64, hidden_size=16, intermediate_size=24, num_layers=2,
        num_heads=2, attention_types=[[["global"], 2]])  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


def test_an_unknown_family_says_what_was_found_and_how_to_name_paths(stranger):
    with pytest.raises(ModelError, match=r"'gpt_neo' is not known; known are .*transformer\.h\.0.*ModulePaths"):
        open_model(stranger, tokenizer=tiny.tokenizer())


def test_an_unknown_family_opens_with_paths_by_hand(stranger):
    paths = ModulePaths(layers="transformer.h", activation="mlp.act", down="mlp.c_proj")
    subject = open_model(stranger, tokenizer=tiny.tokenizer(), paths=paths)
    assert (subject.anatomy.layers, subject.anatomy.width) == (2, 24)
    with pytest.raises(ModelError, match=r"no module 'model\.blocks'"):
        open_model(stranger, tokenizer=tiny.tokenizer(), paths=ModulePaths("model.blocks", "act", "fc2"))


def test_a_mixture_of_experts_is_refused():
    with torch.device("meta"):
        module = AutoModelForCausalLM.from_config(
            MixtralConfig(
                vocab_size=64,
                hidden_size=16,
                intermediate_size=24,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=1,
            )
        )
    with pytest.raises(ModelError, match="mixture of experts"):
        resolve_anatomy(module, module.config)
