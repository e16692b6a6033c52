"""Steering: moving a model's values by neuron edits, directions and prompts, by a dose whose 0 is the identity."""

from nnvalue.steering.along import DirectionSteering, direction_steering
from nnvalue.steering.baking import bake
from nnvalue.steering.combined import CombinedSteering
from nnvalue.steering.controls import matched_random, random_direction
from nnvalue.steering.directions import PLACES, ValueDirections, learn_directions, split_directions
from nnvalue.steering.features import (
    FEATURE_MODES,
    FeatureSteering,
    encoder_rows,
    feature_steering,
    random_features,
    value_features,
)
from nnvalue.steering.modes import MODES, PARTS, neuron_steering
from nnvalue.steering.neurons import NeuronSteering
from nnvalue.steering.prompts import PromptSteering, role_prompt, value_prompt, value_role
from nnvalue.steering.recipes import OPS, Recipe
from nnvalue.steering.steered import steered
from nnvalue.steering.stored import (
    from_pretrained,
    load_steering,
    pack_steering,
    push_to_hub,
    save_steering,
    unpack_steering,
)
from nnvalue.steering.targeting import effect_map, measured_effects, targeted_vector
from nnvalue.steering.use import generate
from nnvalue.steering_protocol import Sampling, Steering

__all__ = [
    "FEATURE_MODES",
    "MODES",
    "OPS",
    "PARTS",
    "PLACES",
    "CombinedSteering",
    "DirectionSteering",
    "FeatureSteering",
    "NeuronSteering",
    "PromptSteering",
    "Recipe",
    "Sampling",
    "Steering",
    "ValueDirections",
    "bake",
    "direction_steering",
    "effect_map",
    "encoder_rows",
    "feature_steering",
    "from_pretrained",
    "generate",
    "learn_directions",
    "load_steering",
    "matched_random",
    "measured_effects",
    "neuron_steering",
    "pack_steering",
    "push_to_hub",
    "random_direction",
    "random_features",
    "role_prompt",
    "save_steering",
    "split_directions",
    "steered",
    "targeted_vector",
    "unpack_steering",
    "value_features",
    "value_prompt",
    "value_role",
]
