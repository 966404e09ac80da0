"""Words that messages are made of."""

import pytest

from fedmpi.errors import counted, either, nearest


@pytest.mark.parametrize(
    ("words", "text"),
    [([], "none"), ("a", "a"), ("ab", "a or b"), ("abcd", "a, b, c or d"), ((1, 2), "1 or 2")],
)
def test_choices_are_listed_as_in_a_sentence(words, text):
    assert either(words) == text


def test_an_unknown_name_gets_the_nearest_known_one_or_all():
    assert nearest("fedvag", ["fedavg", "fedlp"]) == "did you mean fedavg?"
    assert nearest("x", ["fedavg", "fedlp"], "methods") == "methods: fedavg, fedlp"
    assert nearest("x", []) == "known: none"


def test_nouns_follow_their_number():
    assert [counted(n, "run") for n in (0, 1, 2500)] == ["0 runs", "1 run", "2,500 runs"]
