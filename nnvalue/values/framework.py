"""Value theories as data: which values there are, how they group, and where they stand on a circle if they have one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from nnvalue.errors import InvalidInputError, UnknownNameError

POLES = ("positive", "negative")
"""The two aspects of every value: a person who holds it, and a person at its opposing aspect."""
SIGN = {"positive": 1, "negative": -1}
"""Which way each pole counts."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_EMBEDDED = {
    "schwartz": "schwartz.yaml",
    "schwartz19": "schwartz19.yaml",
    "moral_foundations": "moral_foundations.yaml",
}


@dataclass(frozen=True)
class Value:
    """One value of a framework. `gist`, `positive` and `negative` are short texts in the framework's own words."""

    name: str
    code: str
    title: str
    gist: str = ""
    positive: str = ""
    negative: str = ""


@dataclass(frozen=True)
class Group:
    """A higher-order value: a name for several values together. Groups of one level are compared with each other."""

    name: str
    title: str
    members: tuple[str, ...]
    level: str = "higher_order"


@dataclass(frozen=True)
class Facet:
    """An element of a value that a text can be about.

    item: the survey item that it operationalises, by survey and number ("SVS 27"), or nothing.
    refined: the value of a finer framework that it belongs to, or nothing.
    """

    name: str
    value: str
    item: str = ""
    refined: str = ""


@dataclass(frozen=True)
class Framework:
    """A value theory.

    values: name -> Value, in the framework's order.
    groups: name -> Group; empty if the framework has none.
    circle: value names in circular order; empty if the theory has no circle. Theory gives an order, not degrees:
        equal steps are a convention, and every angle here is one of it.
    facets: name -> Facet; empty if the framework names none.
    """

    name: str
    title: str
    source: str
    values: Mapping[str, Value]
    groups: Mapping[str, Group]
    circle: tuple[str, ...] = ()
    facets: Mapping[str, Facet] = field(default_factory=dict)

    @property
    def has_circle(self) -> bool:
        """Whether angles, distances and opposites are defined."""
        return bool(self.circle)

    def resolve(self, name: str) -> str:
        """The name of a value or group, given its name, code or title in any case. Raises UnknownNameError."""
        wanted = _key(name)
        for key in ("name", "code", "title"):
            items: tuple[Value | Group, ...] = (*self.values.values(), *self.groups.values())
            for item in items:
                if wanted == _key(getattr(item, key, item.name)):
                    return item.name
        raise UnknownNameError("value", name, (*self.values, *self.groups), f"(framework '{self.name}')")

    def members(self, name: str) -> tuple[str, ...]:
        """The values behind a name: a group's members, or the value itself."""
        name = self.resolve(name)
        return self.groups[name].members if name in self.groups else (name,)

    def groups_of(self, value: str) -> tuple[str, ...]:
        """The groups that a value belongs to; none if the framework has no groups."""
        value = self.resolve(value)
        return tuple(group.name for group in self.groups.values() if value in group.members)

    def angle(self, name: str) -> float:
        """Position on the circle in degrees [0, 360), by equal steps; of a group, the circular mean of its members.

        Raises InvalidInputError where the framework, or this member of it, has no place on a circle.
        """
        members = self.members(name)
        if not set(members) <= set(self.circle):
            raise InvalidInputError(f"An angle of '{name}' is not defined for framework '{self.name}': no circle.")
        turns = [2 * math.pi * self.circle.index(member) / len(self.circle) for member in members]
        mean = math.atan2(sum(map(math.sin, turns)), sum(map(math.cos, turns)))
        return round(math.degrees(mean), 9) % 360

    def distance(self, a: str, b: str) -> float:
        """Angle between two values or groups in degrees, 0 to 180."""
        gap = abs(self.angle(a) - self.angle(b)) % 360
        return min(gap, 360 - gap)

    def opposites(self, name: str) -> tuple[str, ...]:
        """The values (or, of a group, the groups of its level) farthest away on the circle: one, or two if they tie.

        Raises InvalidInputError where `angle` does.
        """
        name = self.resolve(name)
        self.angle(name)
        if name in self.groups:
            level = self.groups[name].level
            rivals = [group.name for group in self.groups.values() if group.level == level]
        else:
            rivals = list(self.circle)
        others = [other for other in rivals if other != name]
        gaps = {other: self.distance(name, other) for other in others}
        return tuple(other for other in others if math.isclose(gaps[other], max(gaps.values()), abs_tol=1e-6))


def embedded_frameworks() -> tuple[str, ...]:
    """Names of the frameworks that come with nnvalue."""
    return tuple(_EMBEDDED)


def load_framework(name: str | Path = "schwartz") -> Framework:
    """Open a framework: an embedded one by name, or a user's YAML file by path.

    The file's form (only `name` and `values` are required)::

        name: moral_foundations
        title: Moral foundations
        source: who says so
        values:
          - {name: care, code: CA, title: Care, gist: ..., positive: ..., negative: ...}
        groups:
          - {name: individualizing, title: Individualizing, members: [care, fairness]}
        circle: [care, fairness, ...]
        facets:
          - {name: compassion, value: care, item: a survey's item it operationalises, refined: a finer value}

    Raises:
        UnknownNameError: neither an embedded name nor a file.
        InvalidInputError: the file is not a framework; the message names file, entry and field.
    """
    if str(name) in _EMBEDDED:
        return _embedded(str(name))
    path = Path(name)
    if not path.is_file():
        raise UnknownNameError("framework", str(name), _EMBEDDED, "Or give the path of a YAML file.")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"Framework file {path} is not readable YAML: {' '.join(str(error).split())}") from None
    return _from_mapping(raw, str(path))


@cache
def _embedded(name: str) -> Framework:
    text = resources.files(__package__).joinpath(_EMBEDDED[name]).read_text(encoding="utf-8")
    return _from_mapping(yaml.safe_load(text), name)


def _from_mapping(raw: Any, where: str) -> Framework:
    allowed = {"name", "title", "source", "values", "groups", "circle", "facets"}
    fields = _fields(raw, allowed, {"name", "values"}, where)
    values = _named(fields["values"], "values", Value, {"code", "title"}, where)
    groups = _named(fields.get("groups") or [], "groups", Group, {"title", "members"}, where)
    for group in groups.values():
        _check_members(group.members, values, f"{where}: group '{group.name}'")
    keys = [key for value in values.values() for key in {_key(value.name), _key(value.code)}]
    if overlap := sorted({key for key in keys if keys.count(key) > 1}):
        raise InvalidInputError(f"{where}: '{overlap[0]}' stands for two values; give every name and code once.")
    if overlap := sorted(set(values) & set(groups)):
        raise InvalidInputError(f"{where}: '{overlap[0]}' names both a value and a group; give them different names.")
    circle = _names(fields.get("circle"), f"{where}: circle")
    if circle:
        _check_members(circle, values, f"{where}: circle")
        if len(circle) < 3:
            raise InvalidInputError(f"{where}: a circle needs at least three values, {len(circle)} given.")
    name = fields["name"]
    title, source = fields.get("title", name), fields.get("source", "")
    if not all(isinstance(text, str) for text in (name, title, source)):
        raise InvalidInputError(f"{where}: name, title and source must be text.")
    facets = _named(fields.get("facets") or [], "facets", Facet, set(), where)
    for facet in facets.values():
        _check_members((facet.value,), values, f"{where}: facet '{facet.name}'")
    return Framework(name, title, source, values, groups, circle, facets)


def _named(entries: Any, kind: str, make: Any, required: set[str], where: str) -> dict[str, Any]:
    """Entries of a YAML list as name -> dataclass, each checked for unknown, missing and repeated fields."""
    if not isinstance(entries, list) or (kind == "values" and not entries):
        raise InvalidInputError(f"{where}: '{kind}' must be a list of entries with a name, {entries!r} given.")
    found: dict[str, Any] = {}
    for number, entry in enumerate(entries, start=1):
        place = f"{where}: {kind} entry {number}"
        known = set(make.__dataclass_fields__)
        fields = _fields(entry, known, {"name", "value"} & known, place)
        name = fields["name"]
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidInputError(f"{place}: name {name!r} must be lower_case_with_underscores.")
        if name in found:
            raise InvalidInputError(f"{place}: the name '{name}' was used before.")
        if "members" in make.__dataclass_fields__:
            fields["members"] = _names(fields.get("members"), f"{place}: members")
        for key in required - {"members"}:
            fields.setdefault(key, name)
        for key in set(fields) - {"members"}:
            if not isinstance(fields[key], str):
                raise InvalidInputError(f"{place}: {key} must be text, {fields[key]!r} given; put it in quotes.")
        found[name] = make(**fields)
    return found


def _names(entry: Any, where: str) -> tuple[str, ...]:
    """A YAML list of names; nothing at all is an empty one."""
    if entry is None:
        return ()
    if not isinstance(entry, list) or not all(isinstance(name, str) for name in entry):
        raise InvalidInputError(f"{where} must be a list of names, {entry!r} given.")
    return tuple(entry)


def _fields(entry: Any, allowed: set[str], required: set[str], where: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise InvalidInputError(f"{where} must be a mapping with the fields {', '.join(sorted(allowed))}.")
    if unknown := sorted(map(str, set(entry) - allowed)):
        raise InvalidInputError(f"{where}: unknown field '{unknown[0]}'; allowed are {', '.join(sorted(allowed))}.")
    if missing := sorted(required - set(entry)):
        raise InvalidInputError(f"{where}: the field '{missing[0]}' is missing.")
    return dict(entry)


def _check_members(names: tuple[str, ...], values: Mapping[str, Value], where: str) -> None:
    if not names:
        raise InvalidInputError(f"{where} has no members.")
    for name in names:
        if name not in values:
            raise UnknownNameError("value", str(name), values, f"({where})")
    if len(set(names)) != len(names):
        raise InvalidInputError(f"{where} names a value twice.")


def _key(name: str) -> str:
    return str(name).strip().lower().replace("-", "_").replace(" ", "_")
