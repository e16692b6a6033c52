"""What every room offers: named in a sorted list, importable, documented and typed."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import nnvalue

ROOT = Path(nnvalue.__file__).parent
ROOMS = ["nnvalue"] + [
    f"nnvalue.{one.name}" for one in pkgutil.iter_modules([str(ROOT)]) if one.ispkg and one.name != "cli"
]
FILES = ("nnvalue.artifacts", "nnvalue.errors", "nnvalue.findings", "nnvalue.steering_protocol", "nnvalue.doctor")


def offered(room):
    """Public names of a room's `__all__`, or of a file that is its own room."""
    module = importlib.import_module(room)
    if hasattr(module, "__all__"):
        return {name: getattr(module, name) for name in module.__all__}
    return {
        name: one for name, one in vars(module).items()
        if not name.startswith("_") and getattr(one, "__module__", None) == room
    }  # fmt: skip


def functions(name, one):
    """What can be called of a name: itself, or a class's constructor and public methods."""
    if inspect.isfunction(one):
        yield name, one
    elif inspect.isclass(one):
        for attribute, method in vars(one).items():
            method = getattr(method, "__func__", getattr(method, "fget", method))  # of classmethods and properties
            written_here = getattr(method, "__module__", "").startswith("nnvalue")  # and not made by @dataclass
            shown = not attribute.startswith("_") or attribute == "__init__"
            if inspect.isfunction(method) and shown and written_here and method.__qualname__.startswith(one.__name__):
                yield f"{name}.{attribute}", method


@pytest.mark.parametrize("room", ROOMS)
def test_the_list_is_literal_and_sorted(room):
    """Tools read `__all__` without running the package; ruff's order keeps merges apart."""
    path = ROOT.parent / room.replace(".", "/") / "__init__.py"
    lists = [
        ast.literal_eval(node.value)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    assert len(lists) == 1
    assert lists[0] == sorted(set(lists[0]), key=lambda name: (not name.isupper(), not name[:1].isupper(), name))


@pytest.mark.parametrize("room", [*ROOMS, *FILES])
def test_what_is_offered_is_documented_and_typed(room):
    """A name that went away, a function without a word about it, an argument that type checkers take for Any."""
    assert importlib.import_module(room).__doc__
    for name, one in offered(room).items():
        if inspect.isclass(one) or inspect.isfunction(one):
            assert inspect.getdoc(one), f"{room}.{name} has no docstring"
        for path, function in functions(name, one):
            signature = inspect.signature(function)
            untyped = [
                parameter.name for parameter in signature.parameters.values()
                if parameter.annotation is parameter.empty and parameter.name not in ("self", "cls")
            ]  # fmt: skip
            assert not untyped, f"{room}.{path}: {untyped} have no annotation"
            assert signature.return_annotation is not signature.empty or path.endswith("__init__"), f"{room}.{path}"
            if not path.endswith("__init__"):
                assert inspect.getdoc(function), f"{room}.{path} has no docstring"


def test_type_checkers_see_what_users_get():
    """`nnvalue.survey` was a module to mypy, as `nnvalue.causal` has a file of that name; at run time a function."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.asname or alias.name: node.module
        for branch in tree.body if isinstance(branch, ast.If)
        for node in branch.body if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    assert set(seen) == set(nnvalue.__all__)
    for name, module in seen.items():
        assert getattr(importlib.import_module(module), name) is getattr(nnvalue, name)
        here = ROOT.parent / module.replace(".", "/")
        assert not (here / f"{name}.py").exists(), f"{module} has a file {name}.py, which type checkers take"


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "py.typed").exists()
