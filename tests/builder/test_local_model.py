"""A new edition from a language model that is opened here, asked through nnsight."""

import json
import sys

import pytest

from nnvalue.builder import BuildConfig, build_edition
from nnvalue.cli.main import main
from nnvalue.dataset import check_edition
from nnvalue.llm import CompletionClient, LocalModel, Request
from nnvalue.models import open_model
from nnvalue.values import load_framework
from tests.builder import scribe, tiny_scribe

SETTINGS = {"descriptions": 4, "situations": 6, "per_request": 3, "max_tokens": 160, "temperature": 0.7}
DOMAINS = ("work", "family")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("framework") / "mine.yaml"
    path.write_text(scribe.FRAMEWORK)
    return path


@pytest.fixture(scope="module")
def writer(tmp_path_factory, mine):
    config = BuildConfig(**SETTINGS, domains=DOMAINS)
    return tiny_scribe.trained(tmp_path_factory.mktemp("scribe"), load_framework(mine), config)


def test_a_local_model_writes_an_edition_that_passes_the_check(writer, mine, tmp_path):
    config = BuildConfig(**SETTINGS, domains=DOMAINS)
    built = build_edition(LocalModel(open_model(str(writer))), mine, tmp_path / "one", config, name="mine")
    assert check_edition(tmp_path / "one").faults == ()
    assert (len(built.edition.situations), len(built.edition.descriptions)) == (12, 16)
    assert len({row["text"] for row in built.edition.situations}) == 12
    assert built.usage.completion_tokens > 200
    build_edition(LocalModel(open_model(str(writer))), mine, tmp_path / "other", config, name="mine")
    for name in ("situations.parquet", "descriptions.parquet", "answers.jsonl", "rejected.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_the_same_from_the_command_line(writer, mine, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = [part for name, size in SETTINGS.items() for part in (f"--{name.replace('_', '-')}", str(size))]
    domains = [part for domain in DOMAINS for part in ("--domain", domain)]
    line = ["nnvalue", "data", "build", "--framework", str(mine), "--out", "mine", "--model", str(writer)]
    monkeypatch.setattr(sys, "argv", [*line, *sizes, *domains, "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    data = json.loads(capsys.readouterr().out)
    assert data["faults"] == []
    assert data["counts"]["situations"] == 12
    assert data["usage"]["asked"] == data["usage"]["answered"] > 0


def test_a_request_is_answered_alike_in_any_batch_and_draws_differ(writer):
    subject = open_model(str(writer))
    asked = [
        Request((("user", f"Value: {v}. Write 2 pairs"),), 1.0, 40, sample=n) for v in ("thrift", "joy") for n in (0, 1)
    ]
    together = CompletionClient(LocalModel(subject)).complete(asked)
    alone = [CompletionClient(LocalModel(subject)).complete([request])[0] for request in asked]
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    assert together[0].text != together[1].text
    assert all(reply.finish in ("stop", "length") and reply.completion_tokens <= 40 for reply in together)
