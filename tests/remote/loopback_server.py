"""A stand-in for an NDIF server: one process, one replica on the CPU, reachable from this machine only.

It speaks the protocol of nnsight 0.8's remote backends, runs each block as NDIF runs it, and misbehaves on demand
(`State.fault`). It runs as a process of its own in which `nnvalue` cannot be imported, so that whatever a client
forgets to ship fails here as it would fail there. It unpickles what it is sent: never expose it.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import linecache
import os
import queue
import sys
import threading
import time
import traceback
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

from packaging.version import Version

MODEL_CLASS, TASK = "nnsight.modeling.transformers.TransformersModel", "text-generation"
WEBSOCKET_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # fixed by RFC 6455
TEXT, CLOSE = 1, 8  # websocket opcodes
ARCHITECTURE = "The model architecture on this server doesn't match the one your code was traced against: no '{}'."
LOGIN = "Please visit https://login.ndif.us/ to create a new one."
PAYLOAD = "Your request payload could not be read ({}: {}). It may be truncated or corrupted in transit."


class Refused(Exception):
    """What the client is told of a job that cannot be run or failed; with a status code, of a request."""


def import_libraries() -> None:
    """Late, because they take seconds and the server can answer meanwhile."""
    global nnsight, torch, transformers, zstandard
    import nnsight.schema.request
    import torch
    import transformers
    import zstandard

    torch.set_num_threads(1)


def write_atomically(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


class State:
    """What outlives the process: the log, the plan of faults, and, as in NDIF's object store, finished jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock, self.live = folder, threading.RLock(), {}
        folder.mkdir(parents=True, exist_ok=True)
        self.plan = json.loads(self.text("faults.json") or "[]")

    def text(self, name: str) -> str | None:
        path = self.folder / name
        return path.read_text() if path.exists() else None

    def log(self, event: str, **details: object) -> None:
        with self.lock, (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({"event": event, **details}) + "\n")

    def events(self) -> list[dict]:
        with self.lock:
            return [json.loads(line) for line in (self.text("log.jsonl") or "").splitlines()]

    def set_plan(self, plan: list[dict]) -> None:
        with self.lock:
            self.plan = [entry for entry in plan if entry.get("times", 1) > 0]
            write_atomically(self.folder / "faults.json", json.dumps(self.plan).encode())

    def fault(self, on: str) -> dict:
        """The fault for this event, used up once; empty for none. Each entry counts every event that it names."""
        with self.lock:
            taken: dict = {}
            for entry in (entry for entry in self.plan if entry["on"] == on):
                if entry.get("after", 0) > 0:
                    entry["after"] -= 1
                elif not taken:
                    taken = entry
                    entry["times"] = entry.get("times", 1) - 1
            self.set_plan(self.plan)
            if taken:
                self.log("fault", kind=taken["kind"], on=on)
            return taken

    def put(self, response: dict) -> None:
        if response["status"] in ("COMPLETED", "ERROR"):
            write_atomically(self.folder / f"{response['id']}.json", json.dumps(response).encode())
        self.live[response["id"]] = response

    def get(self, job_id: str) -> dict | None:
        return self.live.get(job_id) or json.loads(self.text(f"{job_id}.json") or "null")

    def result(self, job_id: str) -> Path:
        return self.folder / f"{job_id}.pt"


def run_block(job: SimpleNamespace, objects: dict) -> dict:
    for cache in (nnsight.tracing.globals.SOURCES, nnsight.tracing.globals.BLOCKS, linecache.cache):
        cache.clear()  # else another block of the same file of the client is taken for this one
    try:
        tracer = nnsight.schema.request.RequestModel.deserialize(job.blob, objects, compress=job.compress)
    except nnsight.intervention.serialization.UnknownPersistentIdError as error:
        raise Refused(ARCHITECTURE.format(error)) from error
    except Exception as error:
        raise Refused(PAYLOAD.format(type(error).__name__, error)) from error
    nnsight.tracing.tracer.inc()
    try:
        tracer.execute(tracer.info.code)
        saves = nnsight.tracing.tracer._saves()
        return {name: value for name, value in tracer.info.frame.f_locals.items() if id(value) in saves}
    finally:
        nnsight.tracing.tracer.dec()


def describe(error: Exception) -> str:
    """The traceback of the client's own frames."""
    clean, choose = nnsight.tracing.util.clean_traceback, nnsight.tracing.util.filter_traceback
    frames = choose(clean(error.__traceback__), lambda frame: frame.f_code.co_filename != __file__)
    return "".join(traceback.format_exception(type(error), error, frames))


@functools.cache
def load_model(folder: Path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = nnsight.TransformersModel(str(folder), task=TASK, tokenizer=tokenizer, dispatch=True, dtype=torch.float32)
    model._module.requires_grad_(False)
    return model


@functools.cache
def weightless(model) -> dict:
    """The modules as an untrusted block gets them on NDIF: not those that run, and on the meta device."""
    with torch.device("meta"):
        bare = type(model._module)(model._module.config)
    return {f"Module:{model.path}.{name}": module for name, module in bare.named_modules() if name}


def model_key(name: str) -> str:
    return f"{MODEL_CLASS}:{json.dumps({'repo_id': name, 'revision': None, 'task': TASK})}"


@functools.cache
def environment() -> dict:
    owners = importlib.metadata.packages_distributions()
    versions = {name: importlib.metadata.version(packages[0]) for name, packages in owners.items()}
    return {"python_version": sys.version, "packages": versions}


def frame(data: bytes, opcode: int = TEXT) -> bytes:
    """A websocket frame of a server."""
    size = len(data)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 2**16 else b"\x7f" + size.to_bytes(8)
    return bytes([0x80 | opcode]) + length + data


class Server(ThreadingHTTPServer):
    """What clients reach, and the one worker: jobs run one after another, in the order of their arrival."""

    request_queue_size = 64

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", options.port), Handler)
        self.options, self.url = options, f"http://127.0.0.1:{self.server_port}"
        self.folders = {model_key(name): Path(at) for name, at in (model.split("=", 1) for model in options.model)}
        self.state, self.sessions, self.jobs = State(options.state), {}, queue.SimpleQueue()

    def serve(self, job: SimpleNamespace) -> None:
        fault = self.state.fault("job")
        kind = fault.get("kind")
        if kind == "die":
            os._exit(1)
        if kind == "stall":
            time.sleep(fault["seconds"])
        if kind == "lose":
            self.state.live.pop(job.id, None)
        elif kind == "fail":
            self.report(job, "ERROR", fault.get("description", "The job failed."), meta={"runtime": 0.0})
        else:
            self.work(job)
        if kind == "die_after":
            os._exit(1)

    def work(self, job: SimpleNamespace) -> None:
        self.state.log("started", id=job.id)
        self.report(job, "RUNNING", "Your job has started running.")
        began = time.monotonic()
        try:
            raw, blob = self.execute(job)
        except Refused as refusal:
            self.state.log("failed", id=job.id)
            return self.report(job, "ERROR", str(refusal), meta={"runtime": time.monotonic() - began})
        runtime = time.monotonic() - began
        write_atomically(self.state.result(job.id), blob)
        self.state.log("executed", id=job.id, runtime=runtime, result_bytes=len(blob), raw_bytes=len(raw))
        return self.report(job, "COMPLETED", "Your job has been completed.", f"/result/{job.id}", {"runtime": runtime})

    def execute(self, job: SimpleNamespace) -> tuple[bytes, bytes]:
        """The saved values, plain and as they are sent."""
        model, buffer = self.model(job.model_key), io.BytesIO()
        try:
            model._remoteable_set_env(job.env)
            objects = model._remoteable_persistent_objects() | (weightless(model) if self.options.trust_check else {})
            torch.save(run_block(job, objects), buffer)
        except Refused:
            raise
        except Exception as error:
            raise Refused(describe(error)) from error
        finally:
            model.interleaver.cancel()
        raw = buffer.getvalue()
        return raw, zstandard.ZstdCompressor(level=3).compress(raw) if job.compress else raw

    def report(self, job: SimpleNamespace, status: str, description: str, data: str | None = None, meta=None) -> None:
        """To the client's websocket if it has one, else to the store: never to both, as on NDIF."""
        response = {"id": job.id, "status": status, "description": description, "data": data, "meta": meta}
        if not job.session_id:
            self.state.put(response)
        elif job.session_id in self.sessions:
            with contextlib.suppress(OSError):  # a client that left misses the news
                self.sessions[job.session_id].sendall(frame(json.dumps(self.addressed(response)).encode()))

    def addressed(self, response: dict) -> dict:
        """The result's path made a URL, late: a restarted server may listen elsewhere."""
        return response | {"data": response["data"] and self.url + response["data"]}

    def model(self, model_key: str):
        folder = self.folders.get(model_key.replace('"revision": "main"', '"revision": null'))
        if folder is None:
            raise Refused(f"Could not deploy this model. {model_key} is not served here.")
        return load_model(folder)

    def deployments(self) -> dict:
        found = {}
        for key, folder in self.folders.items():
            running = {"application_state": "RUNNING", "deployment_level": "HOT", "dtype": "float32"}
            named = json.loads(key.partition(":")[2]) | {"model_key": key, "revision": "main"}
            found[f"ModelActor:{key}"] = running | named | {"config": (folder / "config.json").read_text()}
        return {"deployments": found, "cluster": {"nodes": {}}}


class Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    server: Server
    accepted: SimpleNamespace | None = None

    def do_POST(self) -> None:
        on, _, rest = urlsplit(self.path).path.strip("/").partition("/")
        body, state = self.rfile.read(int(self.headers.get("Content-Length", 0))), self.server.state
        answers = {
            "ping": lambda: "pong",
            "env": environment,
            "status": self.server.deployments,
            "request": lambda: self.accept(body),
            "response": lambda: self.response(rest),
            "result": lambda: self.result(rest),
            "log": state.events,
            "faults": lambda: state.set_plan(json.loads(body)),
        }
        if on == "subscribe":
            return self.subscribe()
        try:
            return self.answer(on, answers.get(on, self.unknown))
        finally:  # only now: a fault of the job may end the process, and its receipt must be out by then
            if self.accepted:
                self.server.jobs.put(self.accepted)
            self.accepted = None

    do_GET = do_POST

    def answer(self, on: str, work) -> None:
        """Do the work and send what it returns (bytes, or a value for JSON), unless a fault says otherwise."""
        fault = self.server.state.fault(on)
        kind, code, headers = fault.get("kind"), 200, {}
        if kind == "stall":
            time.sleep(fault["seconds"])
        if kind == "status":
            code, value, headers = fault["status"], {"detail": fault.get("detail", "")}, fault.get("headers", {})
        elif kind == "echo_key":
            code, value = 401, {"detail": f"Invalid API key: '{self.headers.get('ndif-api-key')}'."}
        elif kind != "close" or fault.get("accept"):
            try:
                value = work()
            except Refused as refusal:
                value, code = {"detail": refusal.args[0]}, refusal.args[1]
        if kind == "close":
            self.close_connection = True
            return
        if kind == "replace":
            code, value = 200, fault["body"]
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        if kind == "corrupt":
            body = os.urandom(len(body))
        headers = {"Content-Type": "application/json", "Content-Length": len(body)} | headers
        if kind == "truncate":
            self.close_connection, body = True, body[: len(body) // 2]
        self.send(code, headers, body)

    def send(self, code: int, headers: dict, body: bytes = b"") -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def unknown(self) -> None:
        raise Refused("Not Found", 404)

    def accept(self, body: bytes) -> dict:
        key, version = self.headers.get("ndif-api-key"), self.headers.get("nnsight-version")
        server, expected, minimum = self.server, self.server.options.api_key, self.server.options.min_nnsight
        if len(body) > server.options.max_bytes:
            raise Refused("Request Entity Too Large", 413)
        boundary, fields = self.headers.get_boundary("").encode(), {}
        for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            fields[head.split(b'name="')[1].split(b'"')[0]] = content
        if expected and key != expected:
            raise Refused("Invalid API key.", 403) if key else Refused(f"Missing or invalid API key. {LOGIN}", 401)
        if minimum and Version(version or "0") < Version(minimum):
            raise Refused(f"Client nnsight version {version} is below the minimum supported {minimum}.", 400)
        job = SimpleNamespace(**json.loads(fields[b"data"]), id=uuid.uuid4().hex, blob=fields[b"blob"])
        details = {"blob_sha256": hashlib.sha256(job.blob).hexdigest(), "nnsight-version": version}
        self.note("request", id=job.id, bytes=len(job.blob), **details)
        server.report(job, "QUEUED", "Moved to position 1 in Queue.")
        self.accepted = job
        text = "Your job has been received and is waiting to be queued."
        return {"id": job.id, "status": "RECEIVED", "description": text, "data": None, "meta": None}

    def response(self, job_id: str) -> dict:
        found = self.server.state.get(job_id)
        self.note("response", id=job_id, status=found and found["status"])
        if found is None:
            raise Refused(f"No response for request {job_id}.", 404)
        return self.server.addressed(found)

    def result(self, job_id: str) -> bytes:
        path = self.server.state.result(job_id)
        if not path.exists():
            raise Refused("The specified key does not exist.", 404)
        blob = path.read_bytes()
        self.note("result", id=job_id, bytes=len(blob))
        return blob

    def note(self, event: str, **details: object) -> None:
        self.server.state.log(event, **details, has_key="ndif-api-key" in self.headers)

    def subscribe(self) -> None:
        digest = hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + WEBSOCKET_MAGIC).digest()
        accept = base64.b64encode(digest).decode()
        self.send(101, {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept})
        session_id, self.close_connection = uuid.uuid4().hex, True
        self.server.sessions[session_id] = self.connection
        self.wfile.write(frame(json.dumps({"session_id": session_id}).encode()))
        head = self.rfile.read(2)  # the client only listens: what it sends is its goodbye
        self.rfile.read(4 + (head[1] & 0x7F) if head else 0)
        del self.server.sessions[session_id]
        with contextlib.suppress(OSError):
            self.wfile.write(frame(b"", CLOSE))  # without an answer the client waits for seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", nargs="+", action="extend", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--api-key")
    parser.add_argument("--min-nnsight")
    parser.add_argument("--max-bytes", type=int, default=sys.maxsize)
    parser.add_argument("--trust-check", action="store_true", help="treat every block as an untrusted one")
    options = parser.parse_args()
    if importlib.util.find_spec("nnvalue") is not None:
        sys.exit("nnvalue can be imported here, so this server would prove nothing")
    server = Server(options)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    write_atomically(options.state / "address", server.url.encode())
    import_libraries()
    while True:
        server.serve(server.jobs.get())


if __name__ == "__main__":
    main()
