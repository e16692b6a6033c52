"""Run as `python main.py FOLDER SERVED_AS [HOST]`; prints what was found as JSON. Opens no nnvalue subject."""

import json
import sys

import nnsight
import torch
import value_probe
from nnsight import TransformersModel
from nnsight.modeling import huggingface
from transformers import AutoTokenizer

nnsight.register(value_probe)  # the one line: ship my module, too
nnsight.CONFIG.APP.REMOTE_LOGGING = False
torch.set_num_threads(1)

folder, served_as = sys.argv[1:3]
host = sys.argv[3] if len(sys.argv) > 3 else None
huggingface._ID_CACHE[folder] = served_as
tokenizer = AutoTokenizer.from_pretrained(folder)
model = TransformersModel(folder, task="text-generation", tokenizer=tokenizer)
sites = [f"model.layers.{layer}.mlp.act_fn.output" for layer in range(4)]
inputs = tokenizer(["I want to lead", "I want to help"], return_tensors="pt", padding=True)
ids, mask = inputs["input_ids"], inputs["attention_mask"]


def found():
    with torch.no_grad(), model.trace(ids, attention_mask=mask, remote=host or False) as tracer:
        best = nnsight.save(value_probe.loudest(model, sites, mask, 3))
        tracer.stop()
    return best


def pushed():
    neurons = torch.tensor([5, 17])
    with (
        torch.no_grad(),
        model.generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False, remote=host or False) as tracer,
    ):
        value_probe.push(model, sites[2], neurons, 25.0)
        tokens = nnsight.save(tracer.result)
    return tokens


print(json.dumps({"loudest": found().tolist(), "tokens": pushed().tolist()}))
