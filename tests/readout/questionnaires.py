"""A model whose answers are known, and files of items in the form that users bring."""

from __future__ import annotations

import re

import torch

from nnvalue.readout import scale
from nnvalue.values import load_instrument


def item_file(folder, name, leave_out=()):
    """A user's file for a published scale, with texts of our own."""
    numbers = range(1, load_instrument(name).items_total + 1)
    lines = [f"{number},This is item number {number}." for number in numbers if number not in leave_out]
    path = folder / f"{name}.csv"
    path.write_text("number,text\n" + "\n".join(lines) + "\n")
    return path


def answer_by(monkeypatch, likeness):
    """Put a speaker in the place of the model who reads each question to its end.

    likeness: given what is asked, how much it is like the speaker, on the item's own scale (−1 … 7 where 9 numbers are
        offered, else 1 … 6), or an option's probabilities in the order of the options, or None to say something else.
        The number that the speaker says is found in the question's words, so nothing here knows the form's scores.
    """
    asked = []

    def speak(subject, prompts, options, **settings):
        asked.extend(prompts)
        rows = []
        for prompt in prompts:
            given = likeness(prompt)
            if given is None:
                given = [0.0] * len(options)
            elif not isinstance(given, list):
                spoken = str(number_said(prompt.user, given))
                given = [float(option == spoken) for option in options]
            rows.append(given)
        return torch.tensor(rows).log()

    monkeypatch.setattr(scale, "option_log_probabilities", speak)
    return asked


def number_said(question, likeness):
    """What somebody says who is that much like the item, by the ends that the question names."""
    if "9" in question.rpartition("Answer with")[2]:
        rising = "2 (not at all) to 9 (above all)" in question
        return likeness + 2 if rising else 8 - likeness
    first = re.search(r"from 1 \(([^)]*)\)", question)[1]
    return 7 - likeness if first in ("just like you", "entirely", "just what you think") else likeness
