"""Opening a model: the embedded organism, a local folder, a hub id, or one that is in memory already."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nnvalue.artifacts import digest
from nnvalue.errors import ModelError, UnknownNameError
from nnvalue.models.anatomy import Anatomy, ModulePaths, resolve_anatomy
from nnvalue.organism import folder as organism_folder

if TYPE_CHECKING:
    from nnsight import TransformersModel
    from transformers import PreTrainedTokenizerBase

_DTYPES = ("float32", "bfloat16", "float16")
EMBEDDED_NAME = "nnvalue/organism"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "spiece.model")


@dataclass(frozen=True)
class Subject:
    """A model to look into: the nnsight model, its tokenizer and its anatomy.

    name: what it is called in results; never a path of this machine.
    revision: the hub's commit, where the model came from there.
    """

    name: str
    model: TransformersModel
    tokenizer: PreTrainedTokenizerBase
    anatomy: Anatomy
    revision: str | None = None

    @property
    def config(self) -> Any:
        """The transformers config."""
        return self.model.config

    @property
    def pad_id(self) -> int:
        """Token id to pad with; it is masked, so any will do where the tokenizer has none."""
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0

    @property
    def device(self) -> torch.device:
        """Where token ids must lie: the device of the first parameter, the embedding."""
        return next(self.model._module.parameters()).device

    @property
    def dtype(self) -> str:
        """The dtype that the model computes in, e.g. `float32`: that of its first floating-point parameter."""
        kinds = (value.dtype for value in self.model._module.parameters() if value.is_floating_point())
        return str(next(kinds)).removeprefix("torch.")

    def identity(self) -> dict[str, Any]:
        """What a result records of its model, so that it is not used with another one."""
        config = self.config.to_dict()
        volatile = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
        return {
            "name": self.name,
            "revision": self.revision,
            **self.anatomy.facts(),
            "dtype": self.dtype,
            "config_sha256": digest({k: v for k, v in sorted(config.items()) if k not in volatile}),
            "weights_sample_sha256": _weights_sample(self.model._module),
            "chat_template_sha256": digest(self.tokenizer.chat_template),
            "vocabulary_sha256": digest(sorted(self.tokenizer.get_vocab().items())),
        }


def open_model(
    name: Any = None,
    *,
    dtype: str | torch.dtype | None = None,
    device_map: Any = None,
    revision: str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    paths: ModulePaths | None = None,
) -> Subject:
    """Open a causal language model for locating.

    Args:
        name: None for the embedded organism; a folder; a hub id; or a transformers or nnsight model in memory.
        dtype: `float32`, `bfloat16`, `float16` or a torch dtype; None for that of the checkpoint.
        device_map: as transformers takes it ("auto", "cuda", …; needs accelerate); None for where it loads by itself.
        revision: the hub's branch, tag or commit.
        tokenizer: needed with a transformers model in memory; else it comes from the same place as the model.
        paths: where the modules are, for an architecture that is not known.

    Raises ModelError, with what to do, if there is no such model, it has no tokenizer, weights are missing or it cannot
    be loaded, or its architecture is not known; UnknownNameError for another dtype.
    """
    from nnsight import TransformersModel

    in_memory = isinstance(name, TransformersModel | torch.nn.Module)
    if in_memory and not (dtype is device_map is revision is None):
        raise ModelError("A model in memory is taken as it is; dtype, device_map and revision are for loading one.")
    if isinstance(name, TransformersModel):
        return _wrap(type(name).__name__, name, tokenizer or name.tokenizer, paths, revision)
    if isinstance(name, torch.nn.Module):
        if tokenizer is None:
            raise ModelError("A model in memory needs its tokenizer: open_model(model, tokenizer=...).")
        model = TransformersModel(name, tokenizer=tokenizer, task="text-generation")
        return _wrap(type(name).__name__, model, tokenizer, paths, revision)
    source = str(organism_folder() if name is None else name)
    if _is_local(source):
        source = _checked_folder(source, revision)
    tokenizer = tokenizer or _load_tokenizer(source, revision)
    model = _load_model(source, tokenizer, _torch_dtype(dtype), device_map, revision)
    shown = EMBEDDED_NAME if name is None else Path(source).resolve().name if Path(source).exists() else source
    return _wrap(shown, model, tokenizer, paths, getattr(model.config, "_commit_hash", None))


def _wrap(name: str, model: Any, tokenizer: Any, paths: ModulePaths | None, revision: str | None) -> Subject:
    if tokenizer is None or not len(tokenizer):
        raise ModelError(f"The model '{name}' has no tokenizer; pass one with open_model(..., tokenizer=...).")
    anatomy = resolve_anatomy(model._module, model.config, paths)
    return Subject(name, model, tokenizer, anatomy, revision)


def _is_local(source: str) -> bool:
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).exists()


def _checked_folder(source: str, revision: str | None) -> str:
    """A clear word for a local path that cannot be a model, before a library gives an unclear one."""
    path = Path(source).expanduser()
    if revision is not None:
        raise ModelError(f"A revision ('{revision}') belongs to a model on the hub; '{source}' is a folder.")
    if not path.is_dir():
        raise ModelError(f"There is no model folder '{source}'; give a folder with config.json, or a hub id.")
    if not (path / "config.json").is_file():
        raise ModelError(f"The folder '{source}' has no config.json; a transformers checkpoint is expected.")
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(
            f"The model folder '{source}' has no tokenizer; save one into it with tokenizer.save_pretrained(folder)."
        )
    return str(path)


def _load_tokenizer(source: str, revision: str | None) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source, revision=revision)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"The tokenizer of '{source}' cannot be loaded: {_first_line(error)}") from None


def _load_model(source: str, tokenizer: Any, dtype: Any, device_map: Any, revision: str | None) -> TransformersModel:
    from nnsight import TransformersModel
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    options = {"dtype": dtype, "device_map": device_map, "revision": revision}
    try:
        module, report = AutoModelForCausalLM.from_pretrained(
            source, output_loading_info=True, **{key: value for key, value in options.items() if value is not None}
        )
        if absent := sorted(report["missing_keys"]):
            raise ModelError(
                f"The checkpoint '{source}' lacks {len(absent)} weights of its own architecture, '{absent[0]}' first; "
                "random ones would take their place. Save or download it again."
            )
        return TransformersModel(module.eval(), task="text-generation", tokenizer=tokenizer)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"The model '{source}' cannot be loaded: {_first_line(error)}") from None


def _torch_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None:
        return None
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise UnknownNameError("dtype", name, _DTYPES)
    return getattr(torch, name)


def _weights_sample(module: torch.nn.Module) -> str:
    """sha256 over sixteen entries of every parameter, rounded to bfloat16: tells models of one config apart.

    Rounded, so that a model opened in float32 and in bfloat16 is the same one. Parameters that are not in memory
    (offloaded ones) are passed over.
    """
    total = hashlib.sha256()
    for name, value in module.named_parameters():
        if not value.is_meta:
            flat = value.detach().reshape(-1)
            picked = flat[:: max(1, flat.numel() // 16)][:16].to(torch.bfloat16).float().cpu()
            total.update(name.encode() + picked.numpy().tobytes())
    return total.hexdigest()


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
