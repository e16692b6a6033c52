"""Somebody's own script: value neurons edited in its own `generate` block, with `nnvalue.traces` and nothing else."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests import tiny
from tests.steering import plain

SCRIPT = textwrap.dedent("""
    import json
    import sys

    import nnsight
    import torch
    from nnsight import TransformersModel
    from nnsight.modeling import huggingface
    from transformers import AutoTokenizer

    import nnvalue.traces as traces

    nnsight.CONFIG.APP.REMOTE_LOGGING = False
    nnsight.CONFIG.APP.DEBUG = False
    torch.set_num_threads(1)
    folder, served_as, asked = sys.argv[1:4]
    host = sys.argv[4] if len(sys.argv) > 4 else False
    asked = json.loads(asked)
    huggingface._ID_CACHE[folder] = served_as
    model = TransformersModel(folder, task="text-generation", tokenizer=AutoTokenizer.from_pretrained(folder))
    ids, mask = torch.tensor(asked["ids"]), torch.tensor(asked["mask"])
    settings = {"max_new_tokens": asked["steps"], "do_sample": False, "pad_token_id": 0, "eos_token_id": asked["stop"]}

    push = {"neurons": torch.tensor(asked["neurons"]), "add": torch.tensor([asked["amounts"]])}
    cap = {
        "neurons": torch.tensor([1, 2]), "cap": torch.tensor([[0.0, -1.0]]), "cap_share": torch.ones(1, 2),
        "rows": torch.tensor([1]), "scope": "all",
    }
    edits = [(asked["sites"][0], [push, cap]), (asked["sites"][1], [{**push, "scope": "decode"}])]


    def answers(drawn):
        with torch.no_grad(), model.generate(**settings, remote=host) as tracer:
            with tracer.invoke(ids, attention_mask=mask):
                for step in tracer.iter[: settings["max_new_tokens"]]:
                    traces.apply_edits(model, edits, mask, step)
                    if drawn:
                        traces.choose_tokens(model.output.logits, [11, 12], step, temperature=2.0, top_k=20)
            with tracer.invoke():
                tokens = nnsight.save(tracer.result)
        return tokens[:, ids.shape[1] :].tolist()


    made = {"greedy": answers(False), "drawn": answers(True)}
    made["rooms"] = sorted({".".join(name.split(".")[:2]) for name in sys.modules if name.startswith("nnvalue")})
    print(json.dumps(made))
""")


def run_script(where, folder, asked, *host, key=None):
    """What the script prints; it runs in a process and a folder of its own."""
    (where / "main.py").write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **({"NDIF_API_KEY": key} if key else {})}
    line = [sys.executable, "-W", "error::UserWarning:nnvalue", "main.py", str(folder), "nnvalue/organism"]
    made = subprocess.run([*line, json.dumps(asked), *host], cwd=where, env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-3000:]
    return json.loads(made.stdout.splitlines()[-1])


def asked_of(sites, steps=12):
    ids = [[0, 0, 8, 9, 10], [11, 12, 13, 14, 15]]
    mask = [[0, 0, 1, 1, 1], [1] * 5]
    return {
        "ids": ids, "mask": mask, "steps": steps, "sites": sites, "neurons": [3, 17, 30], "amounts": [4.0, -3.0, 5.0],
        "stop": plain.NEVER,
    }  # fmt: skip


def hooked_answers(made, asked, *processors):
    """The same edits as hooks on plain transformers."""
    mask = torch.tensor(asked["mask"])
    lengths, amounts = mask.sum(1, keepdim=True), torch.tensor(asked["amounts"])

    def first(x, position):
        x[:, :, asked["neurons"]] += amounts * (position >= lengths - 1).unsqueeze(-1)
        x[1, :, 1], x[1, :, 2] = x[1, :, 1].clamp(max=0.0), x[1, :, 2].clamp(max=-1.0)
        return x

    def second(x, position):
        x[:, :, asked["neurons"]] += amounts * (position >= lengths).unsqueeze(-1)
        return x

    for site, change in zip(asked["sites"], (first, second), strict=True):
        plain.hook(made, site, mask, change)
    made.generation_config.eos_token_id = plain.NEVER
    return plain.generate(made, torch.tensor(asked["ids"]), mask, asked["steps"], *processors)


class Chosen(plain.Noise):
    """Noise of row seeds that are given, among the k likeliest tokens."""

    def __init__(self, seeds, temperature, width, top_k):
        self.seeds, self.temperature, self.width, self.top_k = seeds, temperature, width, top_k

    def __call__(self, input_ids, scores):
        least = scores.topk(self.top_k).values[:, -1:]
        return super().__call__(input_ids, scores).masked_fill(scores < least, -torch.inf)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_a_strangers_edits_equal_hooks(tmp_path, family):
    """Catches a helper that needs more of nnvalue than traces, or a subject of it."""
    folder = tmp_path / "model"
    made = plain.model(family)
    made.generation_config.eos_token_id = 1
    made.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    asked = asked_of([plain.subject(family).anatomy.gate[0], plain.subject(family).anatomy.down_in[2]])
    printed = run_script(tmp_path, folder, asked)
    assert printed["rooms"] == ["nnvalue", "nnvalue.traces"]

    def model():
        return AutoModelForCausalLM.from_pretrained(folder)

    assert AutoTokenizer.from_pretrained(folder).pad_token_id == 0
    assert printed["greedy"] == hooked_answers(model(), asked)
    assert printed["drawn"] == hooked_answers(model(), asked, Chosen([11, 12], 2.0, 5, 20))
    assert printed["drawn"] != printed["greedy"] != plain.generate(plain.model(family), *tensors(asked), 12)


def tensors(asked):
    return torch.tensor(asked["ids"]), torch.tensor(asked["mask"])
