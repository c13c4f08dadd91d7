"""Ten questions of a first-time reader, each answered by the README under the heading where they would look."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()

ADAPT = "python scripts/remix.py --data.mixtures my_mixtures"
QUESTIONS = [
    ("What is it?", "vaebss", "separates mixtures into their sources"),
    ("Is it for me?", "vaebss", "researchers and students"),
    ("Do I need clean sources, or a GPU?", "vaebss", "no clean source and no GPU"),
    ("What is it good at, and how good is it?", "What it works for", "| [works]("),
    ("What is it not for?", "What it works for", "| two speakers, SI-SDR | 0 dB | -1.6 dB | [fails]("),
    ("How do I install it on a computer without a GPU?", "Install", "https://download.pytorch.org/whl/cpu"),
    ("Which command serves my folder of pictures?", "Your own mixtures", ADAPT),
    ("Which command serves my table of spectra?", "Your own mixtures", "fit.py --data.mixtures spectra.csv"),
    ("How do I know whether it has worked?", "Your own mixtures", "estimates the quality in dB without true sources"),
    ("How long does it take here?", "How long it takes", "| AVX2, estimated from steps |"),
]


def section(heading: str) -> str:
    """Return the text below a heading of the README, up to the next one, on one line."""
    parts = re.split(r"(?m)^#+ (.+)$", README)
    return " ".join(dict(zip(parts[1::2], parts[2::2], strict=True))[heading].split())


def test_there_are_ten_questions():
    assert len({question for question, _, _ in QUESTIONS}) == 10


@pytest.mark.parametrize(("question", "heading", "answer"), QUESTIONS, ids=[question for question, _, _ in QUESTIONS])
def test_the_readme_answers_a_question(question, heading, answer):
    assert answer in section(heading)


def test_the_readme_is_read_in_minutes():
    assert len(README.split()) <= 900
