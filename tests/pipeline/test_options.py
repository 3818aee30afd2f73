"""Options: what they take, what they refuse, how they read their words, and what the contract demands of a class."""

from dataclasses import dataclass, field
from typing import Literal, Optional

import numpy as np
import pytest

import fxcompress as fxc
from fxcompress.contract import check_class, options_of, statistics_of
from fxcompress.contract.options import read_words, spell
from fxcompress.errors import PipelineError


@dataclass(frozen=True)
class Every(fxc.Pass):
    """Have an option of every type."""

    name = "every"
    fidelity = "exact"
    flag: bool = fxc.option(False, help="a flag")
    count: int = fxc.option(1, help="a whole number", check=fxc.at_least(0))
    share: float = fxc.option(0.5, help="a number", check=fxc.between(0, 1))
    word: str = fxc.option("x", help="a word")
    mode: Literal["near", "far"] = fxc.option("near", help="one of two")
    limit: float | None = fxc.option(None, help="a number or none", check=fxc.above(0))
    label: Optional[str] = fxc.option(None, help="a word or none")  # noqa: UP045  both spellings are read
    names: tuple[str, ...] = fxc.option((), help="words")
    sizes: tuple[int, ...] = fxc.option((8, 16), help="numbers", check=fxc.at_least(1))
    maybe: tuple[float, ...] | None = fxc.option(None, help="numbers or none")

    def apply(self, module, context):
        return module


LEGAL = {
    "flag": [True, False],
    "count": [0, 7],
    "share": [0, 1, 0.25, 1e-30, np.float64(0.5)],
    "word": ["2:4", "layer1.*", "w8a8", "é", "none", "true"],
    "mode": ["far"],
    "limit": [None, 1, 2.5, float("inf")],
    "label": [None, "y"],
    "names": [(), ("a",), ("a", "b.*", "none"), ("1e-3",)],
    "sizes": [(1,), (1, 2, 3), ()],
    "maybe": [None, (1, 2.5)],
}
ILLEGAL = {
    "flag": [1, "true", None],
    "count": [1.0, True, -1, "1", None],
    "share": [1.5, -0.1, float("nan"), "0.5", True, None, 10**400],
    "word": ["", "a b", "a,b", "a=b", "{a}", "a\u00a0b", "a\x0bb", None, 1],
    "mode": ["nearby", None, ""],
    "limit": [0, -1.0, "none", float("nan")],
    "label": ["none", ""],
    "names": [["a"], "a", ("a b",), ("",), (1,), ("none",), np.zeros(2)],
    "sizes": [(0,), (1.5,), None],
    "maybe": [(), (None,), ("1",)],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in LEGAL.items() for value in values])
def test_a_legal_value_is_taken_and_its_words_read_back(name, value):
    (option,) = (one for one in options_of(Every) if one.name == name)
    made = Every(**{name: value})
    assert getattr(made, name) == value
    assert option.read(tuple(spell(getattr(made, name)).split(","))) == value


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in ILLEGAL.items() for value in values])
def test_an_illegal_value_is_refused_by_name(name, value):
    with pytest.raises(PipelineError, match=f"pass 'every': option '{name}' (takes|must be)"):
        Every(**{name: value})


def test_equal_passes_have_one_text():
    assert str(Every(share=1)) == str(Every(share=1.0)) == str(Every(share=np.float64(1))) == "every{share=1.0}"
    assert str(Every(maybe=(1, 2))) == "every{maybe=1.0,2.0}"
    assert str(Every(limit=None, share=0.5, sizes=(8, 16))) == "every"


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (("maybe",), bool, "takes true or false, not 'maybe'"),
        (("1.5",), int, "takes a whole number, not '1.5'"),
        (("much",), float, "takes a number, not 'much'"),
        (("1", "2"), int, "takes a whole number, not 2 values"),
        (("1", "x"), tuple[int, ...], "takes a whole number, not 'x'"),
    ],
)
def test_words_of_another_type_are_refused(words, kind, message):
    with pytest.raises(PipelineError) as caught:
        read_words(words, kind)
    assert message in str(caught.value)


def test_a_word_that_is_no_choice_brings_the_nearest():
    with pytest.raises(PipelineError, match="did you mean 'near'"):
        read_words(("nera",), Literal["near", "far"])


@pytest.mark.parametrize("word", ["true", "yes", "on"])
def test_flags_have_three_words(word):
    assert read_words((word,), bool) is True
    assert read_words(({"true": "false", "yes": "no", "on": "off"}[word],), bool) is False


def made(**attributes):
    """A pass class with these attributes."""
    body = {"__doc__": "Do something.", "name": "made", "apply": Every.apply, **attributes}
    return dataclass(frozen=True)(type("Made", (fxc.Pass,), body))


def thawed():
    return type("Thawed", (fxc.Pass,), {"__doc__": "Do.", "name": "thawed", "apply": Every.apply})


def option_of(kind, default):
    return made(__annotations__={"o": kind}, o=fxc.option(default, help="an option"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: int, "is no pass class"),
        (lambda: Every(), "is no pass class"),
        (lambda: made(name=""), "has no name in kebab case"),
        (lambda: made(name="CamelCase"), "has no name in kebab case"),
        (lambda: made(name="under_score"), "has no name in kebab case"),
        (lambda: made(fidelity="perfect"), "has fidelity 'perfect'"),
        (thawed, "is no frozen dataclass"),
        (lambda: made(__doc__=""), "has no docstring"),
        (lambda: made(apply=fxc.Pass.apply), "has no apply method"),
        (lambda: made(__annotations__={"x": int}, x=field(default=1)), "field 'x' of Made is no option"),
        (lambda: option_of(list, None), "has a type that no words spell"),
        (lambda: option_of(tuple[int, int], (1, 2)), "has a type that no words spell"),
        (lambda: option_of(tuple[int | None, ...], ()), "has a type that no words spell"),
        (lambda: option_of(Literal["a b"], "a b"), "has a type that no words spell"),
        (lambda: option_of(Literal["none", "some"] | None, None), "has a type that no words spell"),
        (lambda: option_of(int | str, 1), "has a type that no words spell"),
    ],
)
def test_a_class_that_breaks_a_rule_is_told_which(make, message):
    with pytest.raises(PipelineError) as caught:
        check_class(make())
    assert message in str(caught.value)


def test_a_class_that_keeps_the_rules_is_taken():
    check_class(Every)
    check_class(made())


def test_statistics_are_inherited():
    @dataclass(frozen=True)
    class More(Every):
        """Count."""

        name = "more"
        seen = fxc.statistic("nodes seen")

    @dataclass(frozen=True)
    class Most(More):
        """Count more."""

        name = "most"
        kept = fxc.statistic("nodes kept")

    assert statistics_of(Every) == {}
    assert statistics_of(Most) == {"seen": "nodes seen", "kept": "nodes kept"}


def test_options_are_immutable():
    with pytest.raises(AttributeError):
        Every().share = 0.7
