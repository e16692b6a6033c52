"""What the readers of all formats share: files opened without running anything, and errors that name the file."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnvalue.artifacts import read_json
from nnvalue.errors import ArtifactError, InvalidInputError
from nnvalue.sae.dictionary import SparseAutoencoder


@dataclass(frozen=True)
class Weights:
    """The tensors of a file, by name."""

    path: Path
    tensors: Mapping[str, Tensor]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def take(self, *names: str) -> Tensor:
        """The tensor that has one of these names. Raises ArtifactError if there is none."""
        for name in names:
            if name in self.tensors:
                return self.tensors[name]
        found = ", ".join(sorted(self.tensors)[:8]) or "none"
        raise ArtifactError(
            f"{self.path} has no tensor '{names[0]}' (it has {found}); fetch it again, or give another SAE."
        )


def read_weights(path: Path) -> Weights:
    """The tensors of a `.safetensors`, `.npz`, `.pt` or `.pth` file; no code that it may hold is run.

    Raises ArtifactError for a file that is missing, damaged, or a pickle of more than tensors.
    """
    if not path.is_file():
        raise ArtifactError(f"There is no file {path}; fetch the SAE again.")
    reader = {".safetensors": _safetensors, ".npz": _arrays}.get(path.suffix, _pickled)
    return Weights(path, reader(path))


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ArtifactError if the file is missing or holds something else."""
    config = read_json(path)
    if not isinstance(config, dict):
        raise ArtifactError(f"{path} should hold a JSON object and holds a {type(config).__name__}; fetch it again.")
    return config


def number(config: Mapping[str, Any], name: str, path: Path) -> float:
    """A number above 0 of a config, as it stands there. Raises ArtifactError if it is missing or something else."""
    given = config.get(name)
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
        raise ArtifactError(f"'{name}' in {path} should be a number above 0 and is {given!r}; fetch it again.")
    return given


def refusal(path: Path, what: str) -> InvalidInputError:
    """The error for an SAE that is sound and of a kind that `SparseAutoencoder` cannot be."""
    return InvalidInputError(f"The SAE in {path} {what}; take another one.")


def assemble(
    weights: Weights,
    format_name: str,
    *,
    inputs: float | None = None,
    features: float | None = None,
    hook: str | None = None,
    facts: Mapping[str, Any] | None = None,
    **parts: Any,
) -> SparseAutoencoder:
    """The SAE, from its parts as `SparseAutoencoder` has them.

    Args:
        inputs, features: its widths, where the format's config gives them.
        hook: what it reads, in the format's words; a full path of a module's output or input is its site too.

    Raises InvalidInputError where parts do not fit together or hold NaN.
    """
    for name, axis, expected in (("inputs", 0, inputs), ("features", 1, features)):
        given = list(parts["encoder"].shape)
        if expected is not None and (len(given) != 2 or given[axis] != expected):
            raise InvalidInputError(
                f"The config beside {weights.path} says {expected} {name}, and the encoder [input, feature] is "
                f"{given}; is it transposed, or of another SAE?"
            )
    said = {"format": format_name} | ({} if hook is None else {"hook_name": hook}) | dict(facts or {})
    site = hook if hook is not None and hook.endswith((".output", ".input")) else None
    try:
        return SparseAutoencoder(**{"site": site, "facts": said, **parts})
    except InvalidInputError as error:
        raise InvalidInputError(f"{weights.path}: {error}") from None


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _arrays(path: Path) -> dict[str, Tensor]:
    import numpy

    try:
        with numpy.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name].copy()) for name in arrays.files}
    except ValueError as error:  # what numpy raises for an array of Python objects
        if "allow_pickle" in str(error) or "pickled" in str(error):
            raise _more_than_tensors(path) from None
        raise _damaged(path, error) from None
    except (OSError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from None


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise _more_than_tensors(path) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _damaged(path, error) from None
    if not isinstance(held, Mapping):
        raise ArtifactError(f"{path} should hold tensors by name and holds a {type(held).__name__}; fetch it again.")
    return {str(name): one for name, one in held.items() if isinstance(one, Tensor)}


def _more_than_tensors(path: Path) -> ArtifactError:
    return ArtifactError(
        f"{path} is no file of tensors alone: it is damaged, or a pickle of other things, which could run code and is "
        f"not opened; fetch it again, or ask its makers for safetensors."
    )


def _damaged(path: Path, error: BaseException) -> ArtifactError:
    reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
    return ArtifactError(f"{path} cannot be read: it is cut short, damaged or of another format ({reason}).")
