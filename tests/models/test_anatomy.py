import pytest
import torch
from transformers import AutoModelForCausalLM, MixtralConfig, OPTConfig

from nnvalue.errors import ModelError, UnknownNameError
from nnvalue.models import ModulePaths, known_families, open_model, resolve_anatomy
from tests import tiny


def test_every_known_family_is_tested():
    assert set(known_families()) == set(tiny.FAMILIES)


def test_anatomy_names_the_real_activation_function(subjects):
    expected = {"llama": "SiLUActivation", "qwen2": "SiLUActivation", "gemma2": "GELUTanh", "gpt2": "NewGELUActivation"}
    for family, subject in subjects.items():
        assert subject.anatomy.activation == expected[family]
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
def opt():
    config = OPTConfig(
        vocab_size=64, hidden_size=16, word_embed_proj_dim=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=2
    )
    return AutoModelForCausalLM.from_config(config)


def test_an_unknown_family_says_what_was_found_and_how_to_name_paths(opt):
    with pytest.raises(ModelError, match=r"'opt' is not known; known are .*model\.decoder\.layers.*ModulePaths"):
        open_model(opt, tokenizer=tiny.tokenizer())


def test_an_unknown_family_opens_with_paths_by_hand(opt):
    paths = ModulePaths(layers="model.decoder.layers", activation="activation_fn", down="fc2")
    subject = open_model(opt, tokenizer=tiny.tokenizer(), paths=paths)
    assert (subject.anatomy.layers, subject.anatomy.width) == (2, 24)
    with pytest.raises(ModelError, match=r"no module 'model\.blocks'"):
        open_model(opt, tokenizer=tiny.tokenizer(), paths=ModulePaths("model.blocks", "act", "fc2"))


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
