"""`open_sae`: other people's sparse autoencoders, from a folder, the hub, or a release that SAELens knows."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from nnvalue.errors import ArtifactError, InvalidInputError, UnknownNameError
from nnvalue.sae.dictionary import SparseAutoencoder
from nnvalue.sae.formats import FORMATS, saelens
from nnvalue.sae.formats.reading import Weights
from nnvalue.sae.hooks import read_hook

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(/[^/\\]+)*")
_SINGLE_FILES = (".pt", ".pth")


def open_sae(
    source: str | Path, *, hookpoint: str | None = None, revision: str | None = None, release: str | None = None
) -> SparseAutoencoder:
    """Open a sparse autoencoder; its format is told from its files, and nothing that they may hold is run.

    Formats: SAELens, Gemma Scope, Gemma Scope 2, Llama Scope, EleutherAI sparsify, dictionary_learning, Goodfire,
    Qwen-Scope.

    Args:
        source: a folder or file; a hub id `owner/name` or a place in one, `owner/name/folder`, of which nothing else is
            downloaded; with `release`, the name of an SAE in that release, such as `blocks.8.hook_resid_pre`.
        hookpoint: which one, where a folder holds several: its folder or file (`layers.3.mlp`) or what it reads
            (`model.layers.3`). Where there is one and its format does not say what it reads, this says it.
        revision: the hub's branch, tag or commit.
        release: a release of SAELens' list, such as `gpt2-small-res-jb`; the package sae-lens opens it.

    Raises:
        ArtifactError: there is no SAE, or its files are damaged, incomplete or pickles of more than tensors.
        UnknownNameError: no SAE of that hookpoint, an unknown architecture.
        InvalidInputError: weights that do not fit together or hold NaN, or a kind of SAE that cannot be used.
    """
    if release is not None:
        return _of_release(release, str(source))
    if Path(source).expanduser().exists():
        if revision is not None:
            raise InvalidInputError(f"A revision ('{revision}') belongs to the hub; '{source}' lies on this machine.")
        root = Path(source).expanduser()
    else:
        root = _fetched(str(source), hookpoint, revision)
    kind, place = _chosen(root, hookpoint)
    return _hooked(kind.read(place), place, hookpoint)


def _format_of(place: Path) -> ModuleType | None:
    return next((kind for kind in FORMATS if kind.looks_like(place)), None)


def _chosen(root: Path, hookpoint: str | None) -> tuple[ModuleType, Path]:
    """The one SAE at a place or below it, with its format."""
    if (kind := _format_of(root)) is not None:
        return kind, root
    below = sorted(root.rglob("*")) if root.is_dir() else []
    held = {
        place.relative_to(root).as_posix(): (kind, place)
        for place in below
        if (place.is_dir() or place.suffix in _SINGLE_FILES) and (kind := _format_of(place)) is not None
    }
    if not held:
        known = "; ".join(f"{kind.NAME}: {', '.join(kind.FILES)}" for kind in FORMATS)
        raise ArtifactError(f"{root} holds no SAE; one has the files of a known format ({known}).")
    fitting = [name for name in held if hookpoint is None or _names(name, hookpoint)]
    if len(held) == 1 and hookpoint is not None:
        fitting = list(held)  # what it reads is compared, or taken, once it is open
    if len(fitting) == 1:
        return held[fitting[0]]
    hint = f"{root} holds {len(held)} SAEs; hookpoint says which."
    if fitting:
        raise InvalidInputError(f"{hint} It may be {', '.join(fitting[:8])}{', …' if len(fitting) > 8 else ''}.")
    raise UnknownNameError("hookpoint", str(hookpoint), held, hint)


def _names(place: str, hookpoint: str) -> bool:
    """Whether a place below a folder is meant: by its path, a part of it, or a layer that a part of it names."""
    parts, wanted = place.split("/"), read_hook(hookpoint)
    same = wanted is not None and any(read_hook(part) == wanted for part in parts)
    return hookpoint == place or hookpoint in parts or same


def _hooked(sae: SparseAutoencoder, place: Path, hookpoint: str | None) -> SparseAutoencoder:
    """With what it reads, if the format does not say; raises UnknownNameError where the format says otherwise."""
    said = sae.facts.get("hook_name")
    if hookpoint is None or (wanted := read_hook(hookpoint)) is None:
        return sae
    if said is None:
        site = hookpoint if hookpoint.endswith((".output", ".input")) else None
        return replace(sae, site=site, facts={**sae.facts, "hook_name": hookpoint})
    if (known := read_hook(str(said))) is not None and known != wanted:
        raise UnknownNameError("hookpoint", hookpoint, [str(said)], f"(in {place})")
    return sae


def _fetched(source: str, hookpoint: str | None, revision: str | None) -> Path:
    """A snapshot of what is needed of a repository, or the place in it that was asked for."""
    if source.startswith((".", "/", "~")) or ".." in source.split("/") or not _HUB_ID.fullmatch(source):
        raise ArtifactError(f"There is no SAE '{source}': no folder is called so, and a hub id is owner/name or more.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    owner, name, *inside = source.split("/")
    at = "/".join(inside)
    try:
        snapshot = snapshot_download(
            f"{owner}/{name}", revision=revision, allow_patterns=_wanted_files(at, hookpoint)
        )  # fmt: skip
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"There is no SAE '{source}', neither a folder nor on the hub ({reason}).") from None
    if not (Path(snapshot) / at).exists():
        raise ArtifactError(f"The hub's {owner}/{name} has no '{at}'; give the folder of an SAE in it.")
    return Path(snapshot) / at


def _wanted_files(at: str, hookpoint: str | None) -> list[str]:
    """Patterns of file names: all of a folder that is named, else what one SAE at the top may have.

    A repository can hold hundreds of SAEs, so that all of it is never wanted.
    """
    if at:
        return [at, f"{at}/*"]
    if hookpoint is None:
        return [name for kind in FORMATS for name in kind.FILES if name != "layer*.sae.pt"]
    wanted = read_hook(hookpoint)
    layer = [f"layer{wanted[0]}.sae.pt"] if wanted is not None and wanted[1] == "" else []
    return [hookpoint, f"{hookpoint}/*", *layer]


def _of_release(release: str, name: str) -> SparseAutoencoder:
    try:
        from sae_lens import SAE
    except ImportError:
        raise InvalidInputError(
            f"The release '{release}' is one of SAELens' list, and sae-lens is not installed: pip install sae-lens, or "
            f"give the hub's owner/name/folder."
        ) from None
    try:
        opened = SAE.from_pretrained(release, name)
    except (ValueError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"SAELens does not open '{name}' of the release '{release}' ({reason}).") from None
    weights = Weights(Path(release) / name / saelens.FILES[1], opened.state_dict())
    sae = saelens.from_parts(opened.cfg.to_dict(), weights)
    return replace(sae, facts={**sae.facts, "release": release, "sae_id": name})
