"""What a shell completes, asked as the shell's own script asks it."""

import re
import shutil
import subprocess
import sys

import pytest

from nnvalue.cli import completing
from tests.cli.running import typed

VARIABLE = "_NNVALUE_COMPLETE"


def completed(*words, **environment):
    """What bash is told for the last of some words."""
    line = " ".join(("nnvalue", *words))
    asked = {VARIABLE: "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    _, out, err = typed(**asked, **environment)
    assert err == ""
    return [item.partition(",")[2] for item in out.splitlines()]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("lo",), ["locate"]),
        (("s",), ["steer", "survey", "structure", "side-effects", "sae"]),
        (("data", "b"), ["build"]),
        (("locate", "--max"), ["--max-new-tokens"]),
        (("sae", "features", "--out"), ["--output-scores", "--out"]),
        (("locate", "--value", "tr"), ["tradition"]),
        (("locate", "--value", "open"), ["openness_to_change"]),
        (("locate", "--method", "probe,eff"), ["probe,effect_size"]),
        (("locate", "--dataset", "moral"), ["moral_foundations"]),
        (("locate", "--framework", "schwartz1"), ["schwartz19"]),
        (("locate", "--site", ""), ["gate", "down_in"]),
        (("graph", "scores", "--method", "l"), ["lingam"]),
        (("steer", "--mode", "c"), ["clamp_range", "clamp"]),
        (("steer", "--pole", "neg"), ["negative"]),
        (("evaluate", "--preset", "p"), ["paper"]),
        (("measure", "--judge", "p"), ["parser"]),
        (("completion", "z"), ["zsh"]),
    ],
)
def test_verbs_options_and_names(words, found):
    assert completed(*words) == found


def test_a_slip_in_the_verb_prints_nothing_into_the_prompt():
    """A usage error stood between what was typed before and after the TAB."""
    assert "--value" not in completed("locat", "--v")  # which also holds stderr to be empty
    assert not any(completed("locat", "x"))


def test_what_is_no_known_name_may_be_a_file():
    """A dataset of one's own is a folder, and the shell knows those."""
    _, out, _ = typed(
        **{VARIABLE: "bash_complete", "COMP_WORDS": "nnvalue locate --dataset ./mi", "COMP_CWORD": "3"}
    )  # fmt: skip
    assert out == "file,./mi\n"


def test_names_are_those_of_the_rooms_that_own_them():
    """Completion has lists of its own, as the rooms import torch; here nothing may be missing or too much."""
    from nnvalue.causal import METHODS as graph_methods
    from nnvalue.dataset import LAYOUTS, embedded_editions
    from nnvalue.evaluation.design import PRESETS
    from nnvalue.locator.methods import method_names
    from nnvalue.locator.readings import TEXTS, TOKENS
    from nnvalue.models import SITES
    from nnvalue.sae.dictionary import ARCHITECTURES
    from nnvalue.steering import FEATURE_MODES, MODES
    from nnvalue.values import embedded_frameworks
    from nnvalue.values.forms import forms

    assert set(completing.FRAMEWORKS) == set(embedded_frameworks())
    assert set(completing.DATASETS) == set(embedded_editions())
    assert set(completing.METHODS) == set(method_names())
    assert set(completing.GRAPH_METHODS) == set(graph_methods)
    assert (completing.SITES, completing.TOKENS, completing.TEXTS) == (SITES, TOKENS, TEXTS)
    assert (tuple(MODES), FEATURE_MODES) == (completing.MODES, completing.FEATURE_MODES)
    assert tuple(PRESETS) == completing.PRESETS
    assert set(completing.LAYOUTS) == set(LAYOUTS)
    assert set(completing.ARCHITECTURES) <= set(ARCHITECTURES)
    assert all(forms(name) for name in completing.FORMS)


@pytest.mark.parametrize("line", ["lo", "locate --m", "locate --value tr", "steer --mode n"])
def test_completing_imports_nothing_heavy(line):
    """A second after each TAB is a shell that nobody wants."""
    words = f"nnvalue {line}"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "nnvalue"], capture_output=True, text=True,
        env={VARIABLE: "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1),
             "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.stdout.startswith("plain,"), done.stderr
    assert not re.search(r"\| +(torch|transformers|rich|numpy|nnsight|datasets)\b", done.stderr)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_reads(shell):
    status, script, err = typed("completion", shell)
    assert status == 0, err
    assert f"{VARIABLE}={shell}_complete" in script
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_shell_that_one_is_in():
    status, script, _ = typed("completion", SHELL="/usr/bin/fish")
    assert status == 0
    assert "fish_complete" in script
    status, _, err = typed("completion", SHELL="/bin/tcsh")
    assert status == 2
    assert "Give one of bash, zsh, fish" in err
