"""The floors of the house: a file imports from floors below its own, and from no sister room unless listed."""

import ast
from pathlib import Path

import nnvalue
from nnvalue import _HOME

ROOT = Path(nnvalue.__file__).parent
FLOOR = {
    "errors": 0, "machine": 0, "network": 0, "progress": 0, "prompts": 0, "values": 0, "traces": 0, "artifacts": 0,
    "organism": 1, "models": 1, "dataset": 1, "findings": 1, "findings_card": 1, "steering_protocol": 1, "llm": 1,
    "locator": 2, "steering": 2, "builder": 2, "readout": 2, "sae": 2,
    "evaluation": 3, "causal": 3, "report": 4, "doctor": 4, "cli": 5,
}  # fmt: skip
SISTERS = {
    ("models", "organism"), ("models", "steering_protocol"), ("steering", "locator"),
    ("steering", "sae"), ("sae", "locator"),
    ("llm", "models"), ("llm", "steering_protocol"),
    ("findings", "findings_card"), ("findings_card", "findings"),
    ("artifacts", "errors"), ("values", "errors"), ("network", "errors"),
}  # fmt: skip


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nnvalue."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "nnvalue":
            rooms |= {_HOME[name].split(".")[1] for name in (a.name for a in node.names) if name in _HOME}
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("nnvalue.")}
    return rooms


def test_nobody_imports_from_above():
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        assert room in FLOOR, f"{room} has no floor yet; give it one here and in CONTRIBUTING's map"
        for other in imported_rooms(path) - {room}:
            assert FLOOR[other] < FLOOR[room] or (room, other) in SISTERS, f"{path.relative_to(ROOT)} imports {other}"


def test_files_and_functions_stay_small():
    for path in ROOT.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno <= 70, f"{path}: {node.name}"
