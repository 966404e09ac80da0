"""The phrases that messages are built from."""

import tomllib

import pytest

from fedmpi.errors import counted, either, listed, nearest, typed


@pytest.mark.parametrize(
    ("words", "text"),
    [([], "none"), ("a", "a"), ("ab", "a or b"), ("abcd", "a, b, c or d"), ((1, 2), "1 or 2")],
)
def test_choices_are_listed_as_in_a_sentence(words, text):
    assert either(words) == text


def test_of_many_words_the_first_are_shown_and_the_others_counted():
    assert listed([], 2) == ""
    assert listed(["a", 1], 2) == "a, 1"
    assert listed(["a", "b", "c", "d"], 2) == "a, b and 2 more"


def test_an_unknown_name_gets_the_nearest_known_one_or_all():
    assert nearest("fedvag", ["fedavg", "fedlp"]) == "did you mean fedavg?"
    assert nearest("x", ["fedavg", "fedlp"], "methods") == "methods: fedavg, fedlp"
    assert nearest("x", []) == "known: none"


def test_nouns_follow_their_number():
    assert [counted(n, "run") for n in (0, 1, 2500)] == ["0 runs", "1 run", "2,500 runs"]


@pytest.mark.parametrize("value", [
    "torch", "", "it's", 'say "a"', "C:\\new", "a\nb\t", "caf\u00e9", "\x00\x7f", "\u2028", True,
    False, 3, -1.5, 1e300, [], ["a", 1, [True]], {"a": "b", "a b": {"c.d": [1.0]}},
])
def test_values_are_shown_as_they_can_be_typed_in_toml(value):
    assert tomllib.loads(f"a = {typed(value)}")["a"] == value


def test_values_that_toml_does_not_have_are_shown_as_python_does():
    assert (typed(None), typed(("a", True)), typed("a")) == ("None", "['a', true]", "'a'")
