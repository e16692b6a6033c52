"""The model actor of an NDIF server without a GPU: NDIF's own, with its few CUDA calls replaced.

NDIF takes it by its import path, `DeploymentConfig.actor_class`. It serves both of NDIF's ways to run a block: in
the actor's own process for a request that is `trusted`, in a runner process made for the one request otherwise.
"""

import gc
import json
import os
from pathlib import Path

import ray
import torch
from ndif.services.ray.sandbox import host
from ndif.services.ray.sandbox.model import DEFAULT_POOL_SIZE, SandboxModelDeployment
from nnsight.modeling.huggingface import HuggingFaceModel

ACTOR_CLASS = "cpu_actor.CpuModelActor"


def served_models():
    """The folder of every served name."""
    return json.loads(os.environ["NNVALUE_NDIF_MODELS"])


def local_key(model_key):
    """The key with the folder in place of the served name; everything else in it stays the client's."""
    wrapper, suffix = model_key.split(":", 1)
    identity = json.loads(suffix)
    return f"{wrapper}:{json.dumps(identity | {'repo_id': served_models()[identity['repo_id']]})}"


class RunnerPool(host.Pool):
    """Keeps the runners' sockets in the server's own folder.

    NDIF makes them in /tmp, where those of runners killed with the server would stay for good. A socket may be moved:
    who connects finds it by its new name.
    """

    def _spawn(self):
        sandbox = super()._spawn()
        sandbox.path = str(Path(sandbox.path).rename(Path.home() / Path(sandbox.path).name))
        return sandbox


class CpuModelDeployment(SandboxModelDeployment):
    """One replica of a model in float32 on the CPU."""

    CACHEABLE = False  # parking a replica moves it off its GPU

    def load_from_disk(self):
        torch.set_num_threads(1)  # sums, and so firing counts, do not depend on the number of cores
        model = HuggingFaceModel.from_model_key(
            local_key(self.model_key), dispatch=True, dtype=self.dtype_name, device="cpu", **self.kwargs
        )
        model._module.requires_grad_(False)
        return model

    def open_pool(self, pool_size=None, peers=1):
        # The runner builds the weightless model from the key by itself and does not get our environment.
        self.pool = RunnerPool(
            size=DEFAULT_POOL_SIZE if pool_size is None else pool_size,
            peers=peers,
            model_key=local_key(self.model_key),
        )
        self.execution_sandbox = None

    def cleanup(self):
        # The two bases' cleanup without torch.cuda.synchronize(), which raises where there is no GPU.
        self.discard_sandbox()
        self.kill_switch.clear()
        self.kill_reason = None
        self.execution_ident = None
        self.model.interleaver.cancel()
        gc.collect()


@ray.remote(num_cpus=1)
class CpuModelActor(CpuModelDeployment):
    """The Ray actor; without restarts, so that a model that cannot be loaded is a failed deployment."""
