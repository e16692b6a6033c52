"""Value theory as data: frameworks, poles, groups and circles. Knows nothing of models."""

from nnvalue.values.framework import POLES, Framework, Group, Value, embedded_frameworks, load_framework

__all__ = ["POLES", "Framework", "Group", "Value", "embedded_frameworks", "load_framework"]
