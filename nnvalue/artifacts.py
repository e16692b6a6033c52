"""What is written to disk: JSON and safetensors, atomically, with digests; and the journal that makes work resumable.

A file is written beside its place, flushed to the disk and renamed, so that a reader sees the old content or the
new one and never a half. A folder is replaced in the same manner. Nothing here is pickle.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnvalue.errors import ArtifactError, InvalidInputError

if TYPE_CHECKING:
    import torch

MANIFEST = "manifest.json"


def canonical_json(data: Any) -> bytes:
    """JSON with sorted keys, two spaces of indent and a final newline: equal data gives equal bytes."""
    return (json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def digest(data: Any) -> str:
    """sha256 over `canonical_json(data)`."""
    return hashlib.sha256(canonical_json(data)).hexdigest()


def plain(data: Any) -> Any:
    """JSON data without NaN and infinities, which JSON does not know: null stands for them."""
    if isinstance(data, Mapping):
        return {name: plain(one) for name, one in data.items()}
    if isinstance(data, list | tuple):
        return [plain(one) for one in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all. Raises ArtifactError where the disk is full or not writable."""
    _atomically(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Path, data: Any) -> None:
    """Write `canonical_json(data)` as a whole or not at all."""
    write_bytes(path, canonical_json(data))


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any] | None = None) -> None:
    """Write a safetensors file as a whole or not at all, with JSON facts and a digest in its header.

    Equal tensors and facts give equal bytes.
    """
    write_bytes(path, tensor_bytes(tensors, facts))


def tensor_bytes(tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any] | None = None) -> bytes:
    """The content that `write_tensors` writes."""
    from safetensors.torch import save

    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    facts = dict(facts or {})
    header = {"facts": facts, "sha256": _tensor_digest(plain, facts)}
    # One header entry: safetensors does not promise an order among several.
    return save(plain, {_HEADER: json.dumps(header, sort_keys=True)})


def parquet_bytes(table: Any) -> bytes:
    """A pyarrow table as the content of a parquet file."""
    import pyarrow
    import pyarrow.parquet

    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and facts of a file that `write_tensors` wrote. Raises ArtifactError if missing, foreign or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        expected, facts = header["sha256"], header["facts"]
    except FileNotFoundError:
        raise ArtifactError(f"There is no file {path}.") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is not a tensor file of nnvalue, or it is damaged ({_one_line(error)}).") from None
    if _tensor_digest(tensors, facts) != expected:
        raise ArtifactError(f"{path} is damaged: its content does not match its digest. Make it again.")
    return tensors, facts


def read_json(path: Path) -> Any:
    """A JSON file's data. Raises ArtifactError if it is missing or not JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactError(f"There is no file {path}.") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read as JSON ({_one_line(error)}).") from None


def read_yaml(path: Path) -> Any:
    """A user's YAML or JSON file. Raises InvalidInputError if it is missing or unreadable."""
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInputError(f"There is no file {path}.") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} is not readable YAML: {_one_line(error)}") from None


def write_folder(path: Path, kind: str, files: Mapping[str, bytes]) -> None:
    """Write a result folder as a whole or not at all, with a manifest of its files' digests.

    An earlier result of the same kind at `path` is replaced, provided that nobody put files of their own into it;
    anything else there is left alone. Killed between the two renames, the earlier result lies beside `path` under a
    hidden name, and `recover_folder` puts it back.
    Raises ArtifactError where `path` is something else, or the disk is full or not writable.
    """
    recover_folder(path)
    if path.exists() and not is_empty_folder(path):
        if kind_of(path) != kind:
            raise ArtifactError(f"{path} exists and is no {kind} result; give another place, or remove it yourself.")
        if foreign := sorted({entry.name for entry in path.iterdir()} - _listed(path) - {MANIFEST}):
            raise ArtifactError(f"{path} holds '{foreign[0]}', which nnvalue did not write; move it away first.")
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    staged = path.with_name(f".{path.name}.{os.getpid()}.new")
    retired = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        staged.mkdir(parents=True)
        for name, content in {**files, MANIFEST: canonical_json({"kind": kind, "sha256": digests})}.items():
            write_bytes(staged / name, content)
        if path.exists():
            path.rename(retired)
        staged.rename(path)
    except OSError as error:
        if retired.exists() and not path.exists():
            retired.rename(path)
        raise cannot_write(path, error) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    shutil.rmtree(retired, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Undo what a run that was killed while it wrote a folder left behind: the old folder back, half a new one gone."""
    for retired in path.parent.glob(f".{path.name}.*.old"):
        if path.exists():
            shutil.rmtree(retired, ignore_errors=True)
        else:
            retired.rename(path)
    for staged in path.parent.glob(f".{path.name}.*.new"):
        shutil.rmtree(staged, ignore_errors=True)


def is_empty_folder(path: Path) -> bool:
    """Whether a folder is there and holds nothing."""
    return path.is_dir() and not any(path.iterdir())


def holds(path: Path, kind: str) -> bool:
    """Whether a result of this kind lies at a place where one may be written; half-written ones are tidied up first.

    Raises ArtifactError for anything else that is there.
    """
    recover_folder(path)
    if not path.exists() or is_empty_folder(path):
        return False
    if kind_of(path) != kind:
        raise ArtifactError(f"{path} exists and is no {kind} of nnvalue; give another --out.")
    return True


def other_settings(path: Path, kind: str) -> ArtifactError:
    """The error for a place that is taken by a result of other settings."""
    return ArtifactError(f"{path} holds a {kind} of other settings; give another --out, or --overwrite to replace it.")


def _listed(path: Path) -> set[str]:
    return set(read_json(path / MANIFEST)["sha256"])


def kind_of(path: Path) -> str | None:
    """The kind of result that lies in a folder, or None if it is no result of nnvalue."""
    with suppress(ArtifactError, AttributeError):
        return read_json(path / MANIFEST).get("kind")
    return None


def read_folder(path: Path, kind: str) -> dict[str, bytes]:
    """The files of a result folder, each checked against the manifest.

    Raises ArtifactError if the folder is missing, of another kind, incomplete or damaged.
    """
    if not path.is_dir():
        raise ArtifactError(f"There is no result folder {path}.")
    if not (path / MANIFEST).is_file():
        raise ArtifactError(f"{path} is no result of nnvalue: it has no {MANIFEST}.")
    manifest = read_json(path / MANIFEST)
    digests = manifest.get("sha256") if isinstance(manifest, dict) else None
    if not isinstance(digests, dict) or not isinstance(manifest.get("kind"), str):
        raise ArtifactError(f"{path / MANIFEST} is not a manifest of nnvalue.")
    if manifest["kind"] != kind:
        raise ArtifactError(f"{path} holds a '{manifest['kind']}' result; a '{kind}' result is expected here.")
    files = {}
    for name, expected in digests.items():
        if Path(name).name != name:
            raise ArtifactError(f"{path / MANIFEST} names a file outside its folder: {name!r}.")
        try:
            files[name] = (path / name).read_bytes()
        except OSError as error:
            raise ArtifactError(f"{path} is incomplete: {name} cannot be read ({_one_line(error)}).") from None
        if hashlib.sha256(files[name]).hexdigest() != expected:
            raise ArtifactError(f"{path / name} is damaged: its content does not match the manifest. Make it again.")
    return files


class Journal:
    """A work folder in which finished units of work are kept, so that a killed run continues where it stopped.

    A unit is done when its file is there: files appear whole, under their own key. The folder belongs to one
    specification; units of another one are refused, or thrown away with `discard`. One process at a time may hold it.
    """

    def __init__(self, folder: Path, spec: Mapping[str, Any], discard: bool = False) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = lock_file(folder / "lock")
        except OSError as error:
            raise cannot_write(folder, error) from None
        try:
            self._open(spec, discard)
        except BaseException:
            self.close()
            raise

    def _open(self, spec: Mapping[str, Any], discard: bool) -> None:
        for stray in self.folder.glob(".*.tmp"):
            stray.unlink()
        known = self.folder / "spec.json"
        units = [path for path in self.folder.iterdir() if path.name not in ("lock", "spec.json")]
        same = known.exists() and read_json(known) == json.loads(canonical_json(spec))
        if units and not same:
            if not discard:
                raise ArtifactError(
                    f"{self.folder} holds unfinished work with other settings; repeat those settings to go on with "
                    "it, give another --out, or --overwrite to throw it away."
                )
            for path in units:
                path.unlink()
        if not same:
            write_json(known, spec)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder and leave it as it is."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Delete the folder: the work is finished and its result is elsewhere.

        The specification goes last: whatever a kill leaves behind still says whose it is.
        """
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name == "spec.json"):
            path.unlink()
        self.close()
        self.folder.rmdir()

    def json_keys(self, prefix: str) -> list[str]:
        """The finished JSON units whose key begins so."""
        return sorted(path.stem for path in self.folder.glob("*.json") if path.stem.startswith(prefix))

    def has_json(self, key: str) -> bool:
        """Whether the unit `key` is done."""
        return (self.folder / f"{key}.json").exists()

    def has_tensors(self, key: str) -> bool:
        """Whether the unit `key` is done."""
        return (self.folder / f"{key}.safetensors").exists()

    def put_json(self, key: str, data: Any) -> None:
        """Keep a unit's data."""
        write_json(self.folder / f"{key}.json", {"data": data, "sha256": digest(data)})

    def drop_json(self, key: str) -> None:
        """Forget a unit."""
        (self.folder / f"{key}.json").unlink(missing_ok=True)

    def get_json(self, key: str) -> Any:
        """A finished unit's data. Raises ArtifactError if it is damaged."""
        path = self.folder / f"{key}.json"
        unit = read_json(path)
        if not isinstance(unit, dict) or unit.get("sha256") != digest(unit.get("data")):
            raise ArtifactError(f"{path} is damaged; remove {self.folder} and start again.")
        return unit["data"]

    def put_tensors(self, key: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep a unit's tensors."""
        write_tensors(self.folder / f"{key}.safetensors", tensors)

    def drop(self, prefix: str) -> None:
        """Forget every unit whose key begins so."""
        for path in self.folder.glob(f"{prefix}*"):
            if path.suffix in (".json", ".safetensors") and path.name != "spec.json":
                path.unlink(missing_ok=True)

    def get_tensors(self, key: str) -> dict[str, torch.Tensor]:
        """A finished unit's tensors. Raises ArtifactError if they are damaged."""
        try:
            return read_tensors(self.folder / f"{key}.safetensors")[0]
        except ArtifactError as error:
            raise ArtifactError(f"{error} It is unfinished work: remove {self.folder} and start again.") from None


def library_versions() -> dict[str, str]:
    """Versions of what computes: nnvalue, nnsight, torch, transformers."""
    from importlib.metadata import version

    from nnvalue import __version__

    return {"nnvalue": __version__, **{name: version(name) for name in ("nnsight", "torch", "transformers")}}


_HEADER = "nnvalue"


def _tensor_digest(tensors: Mapping[str, torch.Tensor], facts: Any) -> str:
    import torch

    total = hashlib.sha256(canonical_json(facts))
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        if value.numel():
            total.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _atomically(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error) from None


def lock_file(path: Path) -> int | None:
    """Hold a file against other processes until it is closed. Raises ArtifactError if one of them holds it."""
    try:
        import fcntl
    except ImportError:  # a platform without POSIX locks: two runs in one folder are then the user's to avoid
        return None
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise ArtifactError(f"Another run is working in {path.parent}; wait for it or give another --out.") from None
    return handle


def cannot_write(path: Path, error: OSError) -> ArtifactError:
    """The error that says so."""
    return ArtifactError(f"{path} cannot be written: {error.strerror or error}. What was there before is unchanged.")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
