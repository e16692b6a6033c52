"""What `open_sae` takes for an SAE, and where from."""

from __future__ import annotations

import shutil
import sys
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from nnvalue.errors import ArtifactError, InvalidInputError, UnknownNameError
from nnvalue.sae import open_sae
from tests.sae import shelf
from tests.sae.shelf import inputs


def test_the_one_sae_below_a_folder(tmp_path):
    shelved = shelf.gemma_scope(tmp_path)
    torch.testing.assert_close(open_sae(tmp_path).encode(inputs()), shelved.encode(inputs()))
    assert open_sae(str(tmp_path)).facts["model_name"] == "google/gemma-2-2b"


@pytest.mark.parametrize("asked", ["layers.2.mlp", "model.layers.2.mlp"])
def test_one_of_several(asked, tmp_path):
    for name in ("layers.1", "layers.2", "layers.2.mlp"):
        shelf.sparsify(tmp_path, name)
    assert open_sae(tmp_path, hookpoint=asked).facts["hook_name"] == "layers.2.mlp"
    with pytest.raises(InvalidInputError, match=r"3 SAEs; hookpoint says which.* layers\.1, layers\.2, layers\.2\.mlp"):
        open_sae(tmp_path)
    with pytest.raises(UnknownNameError, match=r"no hookpoint 'layers\.7'.*did you mean layers\.[12]"):
        open_sae(tmp_path, hookpoint="layers.7")


def test_a_layers_file_among_several(tmp_path):
    place = shelf.qwen_scope(tmp_path).place
    shutil.copy(place, place.with_name("layer11.sae.pt"))
    for asked in (
        "layer11.sae.pt",
        "layers.11",
        "model.layers.11",
        "blocks.11.hook_resid_post",
        "blocks.12.hook_resid_pre",
    ):
        assert open_sae(tmp_path, hookpoint=asked).site == "model.layers.11.output"


def test_a_file_whose_repository_is_not_known(tmp_path):
    place = shelf.qwen_scope(tmp_path).place
    shutil.copy(place, tmp_path / "layer1.sae.pt")
    with pytest.raises(InvalidInputError, match="keep the file in a folder of that name"):
        open_sae(tmp_path / "layer1.sae.pt")


def test_what_a_format_does_not_say_can_be_said(tmp_path):
    shelf.sparsify(tmp_path / "mine", hookpoint="")
    assert "hook_name" not in open_sae(tmp_path / "mine").facts
    opened = open_sae(tmp_path / "mine", hookpoint="model.layers.4.output")
    assert (opened.facts["hook_name"], opened.site) == ("model.layers.4.output", "model.layers.4.output")
    assert open_sae(tmp_path / "mine", hookpoint="layers.4").facts["hook_name"] == "layers.4"


def test_what_a_format_says_is_not_overruled(tmp_path):
    shelf.saelens_standard(tmp_path)
    assert open_sae(tmp_path, hookpoint="model.layers.1").facts["hook_name"] == "blocks.1.hook_resid_post"
    with pytest.raises(UnknownNameError, match=r"'layers\.2'.*blocks\.1\.hook_resid_post"):
        open_sae(tmp_path, hookpoint="layers.2")


def test_no_sae(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(ArtifactError, match=r"holds no SAE; .*SAELens: cfg\.json, sae_weights\.safetensors"):
        open_sae(tmp_path)
    for nothing in (tmp_path / "absent", "absent", "./owner/name", "owner/../../etc"):
        with pytest.raises(ArtifactError, match="no folder is called so"):
            open_sae(nothing)
    with pytest.raises(InvalidInputError, match="belongs to the hub"):
        open_sae(tmp_path, revision="main")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one repository; what is asked of it is kept."""
    asked = []

    def download(repository, revision=None, allow_patterns=None):
        asked.append((repository, revision, allow_patterns))
        if repository != "maker/saes":
            raise huggingface_hub.errors.LocalEntryNotFoundError("no such\nrepository")
        return str(tmp_path / "hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


def test_only_the_folder_that_is_named_is_fetched(hub, tmp_path):
    shelf.saelens_jumprelu(tmp_path / "hub" / "res" / "layer_1")
    opened = open_sae("maker/saes/res/layer_1", revision="v2")
    assert hub == [("maker/saes", "v2", ["res/layer_1", "res/layer_1/*"])]
    assert opened.facts["hook_name"] == "blocks.1.hook_resid_post"
    with pytest.raises(ArtifactError, match="has no 'res/layer_2'"):
        open_sae("maker/saes/res/layer_2")


def test_only_the_hookpoint_is_fetched(hub, tmp_path):
    shelf.sparsify(tmp_path / "hub", "layers.1")
    assert open_sae("maker/saes", hookpoint="layers.1").architecture == "topk"
    assert hub == [("maker/saes", None, ["layers.1", "layers.1/*", "layer1.sae.pt"])]


def test_all_of_a_repository_is_never_fetched(hub, tmp_path):
    shelf.goodfire(tmp_path / "hub")
    assert open_sae("maker/saes").facts["model_name"] == "Tiny-Instruct"
    assert "*" not in hub[0][2]
    assert "cfg.json" in hub[0][2]


def test_what_the_hub_has_not(hub):
    with pytest.raises(
        ArtifactError, match=r"no SAE 'maker/other', neither a folder nor on the hub \(no such repository"
    ):
        open_sae("maker/other")


def test_a_release_without_saelens(monkeypatch):
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    with pytest.raises(InvalidInputError, match="pip install sae-lens"):
        open_sae("blocks.1.hook_resid_pre", release="gpt2-small-res-jb")


def test_a_release(tmp_path, monkeypatch):
    shelved = shelf.saelens_gated(tmp_path)
    weights = shelf.picked(shelf.weights(), "W_enc", "W_dec", "b_dec", "b_gate", "b_mag", "r_mag")
    config = SimpleNamespace(to_dict=lambda: shelf.saelens_config("gated"))
    opened = SimpleNamespace(cfg=config, state_dict=lambda: weights)

    class Listed:
        @staticmethod
        def from_pretrained(release, name):
            if (release, name) == ("tiny-res", "blocks.1"):
                return opened
            raise ValueError(f"ID {name} not found in release {release}.")

    monkeypatch.setitem(sys.modules, "sae_lens", SimpleNamespace(SAE=Listed))
    sae = open_sae("blocks.1", release="tiny-res")
    torch.testing.assert_close(sae.encode(inputs()), shelved.encode(inputs()))
    assert (sae.facts["release"], sae.facts["sae_id"]) == ("tiny-res", "blocks.1")
    with pytest.raises(ArtifactError, match="not found in release"):
        open_sae("blocks.2", release="tiny-res")


def test_a_release_by_saelens_itself(tmp_path, monkeypatch):
    sae_lens = pytest.importorskip("sae_lens", reason="pip install sae-lens")
    shelved = shelf.saelens_topk(tmp_path)
    found = sae_lens.SAE.load_from_disk(tmp_path)
    monkeypatch.setattr(sae_lens.SAE, "from_pretrained", staticmethod(lambda release, name: found))
    torch.testing.assert_close(
        open_sae("a", release="b").encode(inputs()), shelved.encode(inputs()), atol=1e-5, rtol=1e-5
    )
