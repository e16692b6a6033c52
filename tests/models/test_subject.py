import pytest
import torch

from nnvalue.errors import ModelError, UnknownNameError
from nnvalue.models import EMBEDDED_NAME, open_model
from tests import tiny


def test_a_saved_folder_opens_and_is_named_without_its_path(tmp_path):
    subject = open_model(tiny.save(tmp_path / "my-model"))
    identity = subject.identity()
    assert subject.name == "my-model"
    assert str(tmp_path) not in str(identity)
    assert identity["dtype"] == "float32"


def test_a_dtype_can_be_asked_for(tmp_path):
    folder = tiny.save(tmp_path / "m")
    assert open_model(folder, dtype="bfloat16").dtype == "bfloat16"
    assert open_model(folder, dtype=torch.float16).dtype == "float16"
    for wrong in ("int8", "wide", torch.float64):
        with pytest.raises(UnknownNameError, match="no dtype"):
            open_model(folder, dtype=wrong)


def test_identity_tells_models_of_one_config_apart(tmp_path):
    one, same, other = (
        open_model(tiny.model("llama", seed=seed), tokenizer=tiny.tokenizer()).identity() for seed in (0, 0, 1)
    )
    assert one == same
    assert one["config_sha256"] == other["config_sha256"]
    assert one["weights_sample_sha256"] != other["weights_sample_sha256"]


def test_identity_is_the_same_in_another_precision(tmp_path):
    folder = tiny.save(tmp_path / "m")
    one, other = (open_model(folder, dtype=dtype).identity() for dtype in ("float32", "bfloat16"))
    assert one["weights_sample_sha256"] == other["weights_sample_sha256"]
    assert one["dtype"] != other["dtype"]


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    """transformers would fill them with random numbers and only warn."""
    import json

    folder = tiny.save(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 5}))
    with pytest.raises(ModelError, match=r"lacks \d+ weights .* 'model\.layers\.3"):
        open_model(folder)


def test_arguments_that_would_be_ignored_are_refused(tmp_path):
    with pytest.raises(ModelError, match="taken as it is"):
        open_model(tiny.model("llama"), tokenizer=tiny.tokenizer(), dtype="bfloat16")
    with pytest.raises(ModelError, match="revision"):
        open_model(tiny.save(tmp_path / "m"), revision="main")


def test_the_embedded_organism_opens_by_default(organism):
    assert organism.name == EMBEDDED_NAME
    assert organism.anatomy.family == "llama"
    assert organism.dtype == "float32"


def test_an_nnsight_model_opens_as_it_is(llama):
    again = open_model(llama.model)
    assert again.model is llama.model
    assert again.anatomy == llama.anatomy


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ModelError, match="has no tokenizer"):
        open_model(tiny.save(tmp_path / "m", with_tokenizer=False))
    with pytest.raises(ModelError, match="needs its tokenizer"):
        open_model(tiny.model("llama"))


def test_a_place_that_is_no_model_is_said_so(tmp_path):
    with pytest.raises(ModelError, match="no model folder"):
        open_model(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"no config\.json"):
        open_model(tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_model("nobody/no-such-model")


def test_damaged_weights_are_said_so(tmp_path):
    folder = tiny.save(tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_model(folder)
