"""Opening a model: the embedded organism, a local folder, a hub id, or one in memory; here or on a server."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nnvalue.artifacts import digest
from nnvalue.errors import InvalidInputError, MissingKeyError, ModelError, UnknownNameError
from nnvalue.models.anatomy import Anatomy, ModulePaths, resolve_anatomy
from nnvalue.models.runtime import Here, Rehearsal, Remote, RemoteOptions, Runtime
from nnvalue.models.server import HOW_TO_SET_A_KEY, PUBLIC_HOST, Server, configured_key
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
    runtime: where its traces run. The weights of a remote subject are not here: its parameters are on `meta`.
    """

    name: str
    model: TransformersModel
    tokenizer: PreTrainedTokenizerBase
    anatomy: Anatomy
    revision: str | None = None
    runtime: Runtime = field(default_factory=Here)
    _vocabularies: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def config(self) -> Any:
        """The transformers config."""
        return self.model.config

    @property
    def pad_id(self) -> int:
        """Token id to pad with; it is masked, so any will do where the tokenizer has none."""
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0

    @property
    def dtype(self) -> str | None:
        """The dtype of the first floating-point parameter, e.g. `float32`; None for a remote model: the server's."""
        kinds = (value for value in self.model._module.parameters() if value.is_floating_point())
        first = next(kinds)
        return None if first.is_meta else str(first.dtype).removeprefix("torch.")

    def identity(self) -> dict[str, Any]:
        """What a result records of its model, so that it is not used with another one.

        What only the weights tell is None for a remote model.
        """
        config = self.config.to_dict()
        volatile = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
        return {
            "name": self.name,
            "revision": self.revision,
            **self.anatomy.facts(),
            "dtype": self.dtype,
            "runs_on": self.runtime.identity(),
            "config_sha256": digest({k: v for k, v in sorted(config.items()) if k not in volatile}),
            "weights_sample_sha256": _weights_sample(self.model._module),
            "chat_template_sha256": digest(self.tokenizer.chat_template),
            "vocabulary_sha256": self._vocabulary(),
        }

    def _vocabulary(self) -> str:
        """Taken once for a size: a vocabulary grows or stays, and sorting a large one takes a while."""
        size = len(self.tokenizer)
        if size not in self._vocabularies:
            self._vocabularies[size] = digest(sorted(self.tokenizer.get_vocab().items()))
        return self._vocabularies[size]


def open_model(
    name: Any = None,
    *,
    remote: bool | str = False,
    served_as: str | None = None,
    remote_options: RemoteOptions | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: Any = None,
    revision: str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    paths: ModulePaths | None = None,
) -> Subject:
    """Open a causal language model for locating.

    A remote one loads its config and tokenizer here and no weights. The API key is nnsight's own: NDIF_API_KEY, or what
    `nnsight login` stored.

    Args:
        name: None for the embedded organism; a folder; a hub id; or a transformers or nnsight model in memory.
        remote: True for the NDIF server that nnsight is configured with; the URL of another one; `dry-run` for a
            rehearsal of the remote path in this process, with the weights here; False for this process.
        served_as: what the server calls the model; needed where it lies in a local folder.
        remote_options: how work is cut into jobs and how long it is waited for.
        dtype: `float32`, `bfloat16`, `float16` or a torch dtype; None for that of the checkpoint.
        device_map: as transformers takes it ("auto", "cuda", …; needs accelerate); None for where it loads by itself.
        revision: the hub's branch, tag or commit.
        tokenizer: needed with a transformers model in memory; else it comes from the same place as the model.
        paths: where the modules are, for an architecture that is not known.

    Raises ModelError, with what to do, if there is no such model, it has no tokenizer, weights are missing or it cannot
    be loaded, or its architecture is not known; UnknownNameError for another dtype; InsecureHostError, MissingKeyError
    or InvalidInputError for a server that cannot be used.
    """
    from nnsight import TransformersModel

    server = find_server(remote, remote_options or RemoteOptions())
    if server is None and served_as is not None:
        raise InvalidInputError(
            "served_as (--served-as) names a model on a server; give remote (--remote or --host) too."
        )
    if server is not None and not (dtype is device_map is None):
        raise ModelError("The server decides on dtype and devices; leave dtype and device_map to local models.")
    in_memory = isinstance(name, TransformersModel | torch.nn.Module)
    if in_memory and not (dtype is device_map is revision is None):
        raise ModelError("A model in memory is taken as it is; dtype, device_map and revision are for loading one.")
    if in_memory:
        shown, model = type(name).__name__, _wrapped(name, tokenizer)
    else:
        source = str(organism_folder() if name is None else name)
        if _is_local(source):
            source = _checked_folder(source, revision)
        if server is not None and served_as is None:
            served_as = _name_without_asking(name, source)
        tokenizer = tokenizer or _load_tokenizer(source, revision)
        model = (
            _load_model(source, tokenizer, _torch_dtype(dtype), device_map, revision)
            if server is None
            else _load_outline(source, tokenizer, revision)
        )
        revision = getattr(model.config, "_commit_hash", None)
        shown = EMBEDDED_NAME if name is None else Path(source).resolve().name if Path(source).exists() else source
    tokenizer = tokenizer or model.tokenizer
    if tokenizer is None or not len(tokenizer):
        raise ModelError(f"The model '{shown}' has no tokenizer; pass one with open_model(..., tokenizer=...).")
    anatomy = resolve_anatomy(model._module, model.config, paths)
    runtime: Runtime = Rehearsal(model) if remote == "dry-run" else Here()
    if server is not None:
        _name_on_server(model, served_as)
        runtime = Remote(server, model, remote_options or RemoteOptions())
    return Subject(shown, model, tokenizer, anatomy, revision, runtime)


def find_server(remote: bool | str, options: RemoteOptions, needs_key: bool = True) -> Server | None:
    """The server that is meant by `remote` (see `open_model`), or None if work stays here.

    Raises MissingKeyError, InsecureHostError or InvalidInputError if it cannot be used.
    """
    if remote is False or remote == "dry-run":
        return None
    if not (remote is True or (isinstance(remote, str) and remote)):
        raise InvalidInputError(f"remote is True, False, 'dry-run' or the URL of a server, {remote!r} given.")
    key, host = configured_key(), _configured_host() if remote is True else remote
    if needs_key and key is None and host.rstrip("/") == PUBLIC_HOST:
        raise MissingKeyError(f"{host} asks for an API key and none is configured. {HOW_TO_SET_A_KEY}")
    return Server(host, key, patience=options.patience, allow_http=options.allow_http)


def _configured_host() -> str:
    from nnsight import CONFIG

    return CONFIG.API.HOST


def _wrapped(model: Any, tokenizer: Any) -> TransformersModel:
    """A model in memory as an nnsight model."""
    from nnsight import TransformersModel

    if isinstance(model, TransformersModel):
        return model
    if tokenizer is None:
        raise ModelError("A model in memory needs its tokenizer: open_model(model, tokenizer=...).")
    return TransformersModel(model, tokenizer=tokenizer, task="text-generation")


def _name_without_asking(name: Any, source: str) -> str | None:
    """What a server calls the embedded organism; None for a model of the hub, whose name the hub knows."""
    if name is None:
        return EMBEDDED_NAME
    if _is_local(source):
        raise ModelError(f"'{name}' is a local folder; say what the server calls it: served_as (--served-as).")
    return None


def _name_on_server(model: Any, served_as: str | None) -> None:
    """Let nnsight call the model by the server's name for it; without one the hub is asked how it is spelt.

    The model takes the name as its own, so that no path of this machine travels, and traces that a user opens on it
    find the server's model too.
    """
    from nnsight.modeling import huggingface

    if served_as is not None:
        huggingface._ID_CACHE[served_as] = served_as  # its spelling is not asked of the hub
        model.repo_id = served_as
        if model._module.device.type == "meta":
            model.args, model._module.config._name_or_path = (served_as,), served_as
        return
    try:
        model.to_model_key()
    except Exception as error:  # whatever the hub's client raises when it cannot be reached or knows no such model
        raise ModelError(
            f"The hub does not tell how '{model.repo_id}' is spelt ({_first_line(error)}); give the server's name "
            "for it with served_as (--served-as)."
        ) from None


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
        opening: Any = AutoModelForCausalLM.from_pretrained  # gives a pair where information is asked for
        module, report = opening(
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


def _load_outline(source: str, tokenizer: Any, revision: str | None) -> TransformersModel:
    """The model without weights: its module tree on `meta`, and the settings that say what ends an answer."""
    from nnsight import TransformersModel
    from transformers import GenerationConfig

    try:
        model = TransformersModel(source, task="text-generation", tokenizer=tokenizer, revision=revision)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(f"The config of '{source}' cannot be loaded: {_first_line(error)}") from None
    with suppress(OSError):  # a checkpoint need not have any; then those of its config stand, as when loaded whole
        model._module.generation_config = GenerationConfig.from_pretrained(source, revision=revision or "main")
    return model


def _torch_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None:
        return None
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise UnknownNameError("dtype", name, _DTYPES)
    return getattr(torch, name)


def _weights_sample(module: torch.nn.Module) -> str | None:
    """sha256 over sixteen entries of every parameter, rounded to bfloat16: tells models of one config apart.

    Rounded, so that a model opened in float32 and in bfloat16 is the same one. Parameters that are not in memory
    (offloaded ones) are passed over; None where none is.
    """
    total, sampled = hashlib.sha256(), False
    for name, value in module.named_parameters():
        if not value.is_meta:
            flat = value.detach().reshape(-1)
            picked = flat[:: max(1, flat.numel() // 16)][:16].to(torch.bfloat16).float().cpu()
            total.update(name.encode() + picked.numpy().tobytes())
            sampled = True
    return total.hexdigest() if sampled else None


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
