"""Deploys every model of NNVALUE_NDIF_MODELS on the running server and returns when all are ready."""

import sys

from cpu_actor import ACTOR_CLASS, served_models
from ndif.cli.lib.deploy import deploy
from nnsight.modeling import huggingface
from nnsight.modeling.transformers import TransformersModel


def specification(name, folder):
    # nnsight asks the Hub for a repository's canonical name; this is its answer, on the client's side too.
    huggingface._ID_CACHE[folder] = name
    return {
        "checkpoint": name,
        "model_key": TransformersModel(folder, task="text-generation").to_model_key(),
        # Any size, as the GPU to place it on does not exist; but given, because NDIF 0.1.2 cannot find it out with
        # nnsight 0.8.1, whose describe_checkpoint has another signature.
        "size_bytes": 1_000_000,
        "padding_bias": 0,
        "dtype": "float32",
        "actor_class": ACTOR_CLASS,
        "pinned": True,
    }


def main():
    specifications = [specification(name, folder) for name, folder in served_models().items()]
    answer = deploy(specifications, on_message=lambda line: sys.stdout.write(f"{line}\n"))
    failed = [entry for entry in answer["deployments"] if entry["status"] != "READY"]
    for entry in failed:
        sys.stderr.write(f"{entry['checkpoint']}: {entry['error']}\n")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
