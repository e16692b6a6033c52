"""Steerings on disk and on the hub: a folder of JSON, safetensors and a README."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nnvalue.artifacts import canonical_json, library_versions, read_folder, read_tensors, tensor_bytes, write_folder
from nnvalue.errors import ArtifactError, InvalidInputError, UnknownNameError
from nnvalue.steering.along import DirectionSteering
from nnvalue.steering.combined import CombinedSteering
from nnvalue.steering.features import FeatureSteering
from nnvalue.steering.neurons import NeuronSteering
from nnvalue.steering.prompts import PromptSteering
from nnvalue.steering_protocol import Steering, is_identity

KIND = "steering"
SCHEMA_VERSION = 1
_KINDS: dict[str, Any] = {
    "neurons": NeuronSteering,
    "direction": DirectionSteering,
    "prompt": PromptSteering,
    "features": FeatureSteering,
}
_FORMS: dict[str, Callable[[Any], bool]] = {
    "about": lambda given: isinstance(given, dict),
    "model": lambda given: given is None or is_identity(given),
    "seed": lambda given: type(given) is int,
    "full_caps": lambda given: type(given) is bool,
    "layers": lambda given: isinstance(given, list) and all(type(layer) is int for layer in given),
    "forth": lambda given: isinstance(given, str),
    "back": lambda given: given is None or isinstance(given, str),
}
"""What settings must be that would else fail in the middle of a run; the others are checked where they are used."""
_README = """\
---
library_name: nnvalue
tags: [steering, values, interpretability]
---
# A steering

Made with nnvalue {version}{model}. What it does at its dose:

```json
{description}
```

It changes what a model says about values. Say so where its output is shown, and use it for research on models, not on
people who do not know of it.

```python
from nnvalue import generate, open_model
from nnvalue.steering import load_steering
generate(open_model(), ["What would you do?"], steering=load_steering("this folder").at({dose:g}))
```
"""


def save_steering(steering: Steering, folder: str | Path) -> Path:
    """Write a steering as a folder, as a whole or not at all.

    Raises InvalidInputError for one of a class that is not of nnvalue, ArtifactError where it cannot be written.
    """
    tensors: dict[str, Any] = {}
    config: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION, "versions": library_versions(), "steering": _written(steering, "0", tensors)
    }  # fmt: skip
    made_for = getattr(steering, "model", None)
    readme = _README.format(
        version=config["versions"]["nnvalue"], model=f" for {made_for['name']}" if made_for else "",
        description=json.dumps(steering.describe(), indent=2, ensure_ascii=False), dose=steering.dose,
    )  # fmt: skip
    files = {"config.json": canonical_json(config), "README.md": readme.encode()}
    write_folder(Path(folder), KIND, files | {"steering.safetensors": tensor_bytes(tensors)})
    return Path(folder)


def load_steering(folder: str | Path) -> Any:
    """Open a folder that `save_steering` wrote.

    Raises ArtifactError if it is missing, foreign, damaged or holds something that makes no sense.
    """
    folder = Path(folder)
    files = read_folder(folder, KIND)
    if missing := {"config.json", "steering.safetensors"} - set(files):
        raise ArtifactError(f"{folder} is incomplete: {min(missing)} is missing.")
    tensors, _ = read_tensors(folder / "steering.safetensors")
    try:
        config = json.loads(files["config.json"])
        if config["schema_version"] != SCHEMA_VERSION:
            raise ArtifactError(
                f"{folder} has schema version {config['schema_version']}; this nnvalue reads version {SCHEMA_VERSION}."
            )
        return _read(config["steering"], "0", tensors)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, UnknownNameError) as error:
        raise ArtifactError(f"{folder} holds no steering that can be used ({' '.join(str(error).split())}).") from None


def pack_steering(steering: Steering, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A steering as JSON settings and tensors, whose names begin with its own, to be kept within another result.

    Raises InvalidInputError for one of a class that is not of nnvalue.
    """
    tensors: dict[str, Any] = {}
    return _written(steering, name, tensors), tensors


def unpack_steering(settings: Mapping[str, Any], name: str, tensors: Mapping[str, Any]) -> Any:
    """The inverse of `pack_steering`; raises ArtifactError for what makes no sense."""
    try:
        return _read(settings, name, tensors)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, UnknownNameError) as error:
        raise ArtifactError(f"There is a steering that cannot be used ({' '.join(str(error).split())}).") from None


def push_to_hub(steering: Steering, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
    """Upload a steering as a model repository of the hub; returns its address.

    Args:
        private: whether a repository that is made anew can be seen by its owner only.
        token: the hub's; None for the one that huggingface_hub has stored.
    """
    import tempfile

    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        place = save_steering(steering, Path(folder) / "steering")
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=str(place), commit_message="A steering of nnvalue")
    return str(address)


def from_pretrained(source: str | Path, *, revision: str | None = None, token: str | None = None) -> Any:
    """A steering from a folder, or from a repository of the hub. Raises ArtifactError if there is none."""
    if Path(source).is_dir():
        return load_steering(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    names = ["manifest.json", "config.json", "steering.safetensors", "README.md"]
    try:
        folder = snapshot_download(str(source), revision=revision, allow_patterns=names, token=token)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"There is no steering '{source}', neither a folder nor on the hub ({reason}).") from None
    return load_steering(folder)


def _written(steering: Any, path: str, tensors: dict[str, Any]) -> dict[str, Any]:
    """Its settings; its tensors are put beside those of others, by the place that it has."""
    if isinstance(steering, CombinedSteering):
        parts = [_written(part, f"{path}.{number}", tensors) for number, part in enumerate(steering.parts)]
        return {"kind": "combined", "dose": steering.dose, "parts": parts}
    for kind, known in _KINDS.items():
        if isinstance(steering, known):
            settings, own = steering.state()
            # Copies: a file holds no tensor twice, and two parts may have one in common.
            tensors.update({f"{path}.{name}": tensor.clone() for name, tensor in own.items()})
            return {"kind": kind, **settings}
    raise InvalidInputError(
        f"A {type(steering).__name__} cannot be saved; nnvalue knows how to save {', '.join(_KINDS)} and combinations."
    )


def _read(settings: Mapping[str, Any], path: str, tensors: Mapping[str, Any]) -> Any:
    rest = dict(settings)
    kind = rest.pop("kind")
    if kind == "combined":
        parts = tuple(_read(part, f"{path}.{number}", tensors) for number, part in enumerate(rest["parts"]))
        return CombinedSteering(parts, rest["dose"])
    if kind not in _KINDS:
        raise UnknownNameError("kind of steering", str(kind), _KINDS)
    if wrong := [name for name, given in rest.items() if name in _FORMS and not _FORMS[name](given)]:
        raise InvalidInputError(f"its '{wrong[0]}' is {rest[wrong[0]]!r}")
    own = {name.removeprefix(f"{path}."): tensor for name, tensor in tensors.items() if name.startswith(f"{path}.")}
    made = _KINDS[kind].from_state(rest, own)
    if absent := set(made.state()[0]) - set(rest):  # a default must not take the place of what was said
        raise InvalidInputError(f"its '{min(absent)}' is missing")
    return made
