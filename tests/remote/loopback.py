"""Starts, stops and questions the stand-in server of `loopback_server.py`."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

SCRIPT = Path(__file__).with_name("loopback_server.py")
START_TIMEOUT = 60.0
UNSHIPPED = ("nnvalue", "__editable__", "_editable_impl_", "__pycache__")
DROPPED_VARIABLES = ("NDIF_API_KEY", "NDIF_HOST", "PYTHONHOME", "NNSIGHT_DEBUG", "__PYVENV_LAUNCHER__")


def packages_without_nnvalue(folder: Path) -> Path:
    """A folder of links to every installed package but ours, however ours was installed."""
    folder = folder / "site-packages"
    folder.mkdir(parents=True, exist_ok=True)
    installed = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages())
    for source in dict.fromkeys(Path(path) for path in installed if Path(path).is_dir()):
        for entry in source.iterdir():
            link = folder / entry.name
            if not entry.name.startswith(UNSHIPPED) and entry.suffix != ".pth" and not link.is_symlink():
                link.symlink_to(entry)
    return folder


class Loopback:
    """One server and its state folder, from `start` to `stop`; a context manager does both.

    `models` maps the names that are served to folders; `options` are further command line options, such as
    `"--api-key", KEY`. The state survives `kill` and `stop`, so `restart` shows what a real server would remember.
    """

    def __init__(self, state: Path, models: dict[str, str | Path], *options: str) -> None:
        self.state, self.options = Path(state), options
        self.models = [f"{name}={Path(folder).resolve()}" for name, folder in models.items()]
        self.process: subprocess.Popen | None = None
        self.url = ""

    def __enter__(self) -> Loopback:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, port: int = 0) -> Loopback:
        """Returns once the server answers; its libraries are loaded by then or a little later."""
        packages = packages_without_nnvalue(self.state / "packages")
        address = self.state / "address"
        address.unlink(missing_ok=True)
        # -S and -P keep the interpreter's own packages and this folder out: an nnvalue there would be found as well.
        command = [sys._base_executable, "-s", "-S", "-P", str(SCRIPT), "--state", str(self.state.resolve())]
        command += ["--port", str(port), *self.options, "--model", *self.models]
        with (self.state / "stdout").open("ab") as out, (self.state / "stderr").open("ab") as err:
            self.process = subprocess.Popen(
                command, cwd=self.state, env=self._environment(packages.resolve()), stdout=out, stderr=err
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not address.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"The server did not start:\n{(self.state / 'stderr').read_text()[-4000:]}")
            time.sleep(0.02)
        self.url = address.read_text()
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def wait(self, timeout: float = 60.0) -> int:
        """Waits for a server that a fault makes die; its exit status."""
        return self.process.wait(timeout)

    def restart(self) -> Loopback:
        """The same state and the same port, so the same `url`."""
        self.stop()
        return self.start(port=int(self.url.rpartition(":")[2]))

    def faults(self, plan: list[dict]) -> None:
        """Replaces the plan of faults; an empty one means good behaviour."""
        self._call("/faults", json.dumps(plan).encode())

    def log(self, event: str | None = None) -> list[dict]:
        """Every event since the state folder was made, or those of one kind."""
        return [entry for entry in self._call("/log") if event in (None, entry["event"])]

    def executed(self) -> int:
        """How many jobs were run to their end."""
        return len(self.log("executed"))

    def requests(self) -> list[dict]:
        """The accepted requests."""
        return self.log("request")

    def _call(self, path: str, body: bytes | None = None):
        with urllib.request.urlopen(self.url + path, data=body, timeout=10) as answer:
            return json.load(answer)

    def _environment(self, packages: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in DROPPED_VARIABLES}
        return kept | {"PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
