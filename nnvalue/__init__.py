"""nnvalue: locate human values in the neurons of a language model.

The names below are imported when they are first used, so that `import nnvalue` and `nnvalue --help` stay fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Framework": "nnvalue.values",
    "LocateConfig": "nnvalue.locator",
    "NnvalueError": "nnvalue.errors",
    "Subject": "nnvalue.models",
    "Threshold": "nnvalue.locator",
    "TopK": "nnvalue.locator",
    "ValueInsight": "nnvalue.dataset",
    "ValueNeurons": "nnvalue.findings",
    "ValueProfile": "nnvalue.readout",
    "build_report": "nnvalue.report",
    "evaluate": "nnvalue.evaluation",
    "fit_graph": "nnvalue.causal",
    "generate": "nnvalue.steering",
    "load_framework": "nnvalue.values",
    "load_steering": "nnvalue.steering",
    "load_valueinsight": "nnvalue.dataset",
    "locate": "nnvalue.locator",
    "measure": "nnvalue.readout",
    "neuron_steering": "nnvalue.steering",
    "open_model": "nnvalue.models",
    "steered": "nnvalue.steering",
    "survey": "nnvalue.causal",
}

__all__ = [
    "Framework",
    "LocateConfig",
    "NnvalueError",
    "Subject",
    "Threshold",
    "TopK",
    "ValueInsight",
    "ValueNeurons",
    "ValueProfile",
    "build_report",
    "evaluate",
    "fit_graph",
    "generate",
    "load_framework",
    "load_steering",
    "load_valueinsight",
    "locate",
    "measure",
    "neuron_steering",
    "open_model",
    "steered",
    "survey",
]

if TYPE_CHECKING:
    from nnvalue.causal import fit_graph
    from nnvalue.causal.surveying import survey  # the function: causal has a file of this name, too
    from nnvalue.dataset import ValueInsight, load_valueinsight
    from nnvalue.errors import NnvalueError
    from nnvalue.evaluation import evaluate
    from nnvalue.findings import ValueNeurons
    from nnvalue.locator import LocateConfig, Threshold, TopK, locate
    from nnvalue.models import Subject, open_model
    from nnvalue.readout import ValueProfile, measure
    from nnvalue.report import build_report
    from nnvalue.steering import generate, load_steering, neuron_steering
    from nnvalue.steering.steered import steered
    from nnvalue.values import Framework, load_framework


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nnvalue' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
