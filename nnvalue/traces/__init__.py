"""The trace helpers: plain functions to call inside your own `with model.trace(...)` or `model.generate(...)` block.

They import torch and nnsight only and nothing else of nnvalue, so that they can travel by value to a server that has
never heard of nnvalue: importing this package registers it for that, so a trace of yours that calls the helpers runs
with `remote=True` as it stands. For the same reason they hold no state, register no hooks, read no weights and take
device and dtype from the activation they are given.

>>> with torch.no_grad(), model.trace(ids, attention_mask=mask, use_cache=False) as tracer:
...     found = nnsight.save([])
...     for site in sites:  # e.g. "model.layers.0.mlp.act_fn.output"
...         found.append(per_neuron_sums(read_activation(model, site), mask))
...     tracer.stop()  # nothing after the last site is computed
>>> len(found) == len(sites)
True
"""

import nnsight

from nnvalue.traces.edits import add_to_neurons, set_neurons
from nnvalue.traces.features import encode_features
from nnvalue.traces.gradients import gradient_products
from nnvalue.traces.quantiles import count_digits, from_sortable_bits, sortable_bits
from nnvalue.traces.sampling import choose_tokens, gumbel_noise
from nnvalue.traces.sites import attention_of, read_activation, write_activation
from nnvalue.traces.statistics import add_up, collect_contrasts, collect_moments, count_loudest, per_neuron_sums
from nnvalue.traces.steering import apply_edits, place_edits, positions_in_scope

nnsight.register(__name__)

__all__ = [
    "add_to_neurons",
    "add_up",
    "apply_edits",
    "attention_of",
    "choose_tokens",
    "collect_contrasts",
    "collect_moments",
    "count_digits",
    "count_loudest",
    "encode_features",
    "from_sortable_bits",
    "gradient_products",
    "gumbel_noise",
    "per_neuron_sums",
    "place_edits",
    "positions_in_scope",
    "read_activation",
    "set_neurons",
    "sortable_bits",
    "write_activation",
]
