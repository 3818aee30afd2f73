"""The grammar of pipelines: what reads, what does not and where, and that every pipeline reads back from its text."""

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fxcompress as fxc
from fxcompress import Pipeline
from fxcompress.errors import PipelineError


@dataclass(frozen=True)
class Alpha(fxc.Pass):
    """Have options of many types."""

    name = "alpha"
    fidelity = "exact"
    ratio: float = fxc.option(0.5, help="a share", check=fxc.between(0, 1))
    count: int = fxc.option(1, help="a number")
    flag: bool = fxc.option(False, help="a flag")
    mode: Literal["near", "far"] = fxc.option("near", help="one of two")
    word: str = fxc.option("x", help="a word")
    limit: float | None = fxc.option(None, help="a limit")
    targets: tuple[str, ...] = fxc.option((), help="patterns")
    sizes: tuple[int, ...] = fxc.option((), help="numbers")

    def apply(self, module, context):
        return module


@dataclass(frozen=True)
class BetaTwo(fxc.Pass):
    """Have an option that must be given."""

    name = "beta-2"
    fidelity = "exact"
    size: int = fxc.option(help="a size", check=fxc.at_least(1))

    def apply(self, module, context):
        return module


class Bringer:
    @fxc.hookimpl
    def register_passes(self, register):
        register(Alpha)
        register(BetaTwo)

    @fxc.hookimpl
    def register_pipelines(self, register):
        register("pair", "alpha{count=3},beta-2{size=4}")
        register("nested", "pair,alpha")
        register("loop", "alpha,loop2")
        register("loop2", "loop")
        register("rotten", "alpha{cuont=3}")


@pytest.fixture(scope="module")
def plugins():
    made = fxc.Plugins(autoload=False)
    made.register(Bringer(), "bringer")
    return made


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("alpha", [Alpha()]),
        ("alpha{}", [Alpha()]),
        ("alpha,alpha", [Alpha(), Alpha()]),
        ("alpha{ratio=0.25}", [Alpha(ratio=0.25)]),
        ("alpha{ratio=1e-3 count=-2}", [Alpha(ratio=0.001, count=-2)]),
        ("alpha{flag=yes mode=far word=2:4}", [Alpha(flag=True, mode="far", word="2:4")]),
        ("alpha{targets=layer1.*,fc sizes=1,2}", [Alpha(targets=("layer1.*", "fc"), sizes=(1, 2))]),
        ("alpha{limit=none targets=none}", [Alpha()]),
        (
            "\n alpha {\n ratio = 0.25\n targets = a , b\n}\n,\n beta-2{size=1}\n",
            [Alpha(ratio=0.25, targets=("a", "b")), BetaTwo(1)],
        ),
        ("pair", [Alpha(count=3), BetaTwo(4)]),
        ("alpha{ratio=1},nested", [Alpha(ratio=1), Alpha(count=3), BetaTwo(4), Alpha()]),
    ],
)
def test_reads(text, passes, plugins):
    assert list(Pipeline.parse(text, plugins)) == passes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "here a pass or a pipeline is missing\n  \n  ^"),
        ("  ", "here a pass or a pipeline is missing\n    \n  ^"),
        ("alpha,", "here a pass or a pipeline is missing\n  alpha,\n        ^"),
        (",alpha", "here a pass or a pipeline is missing\n  ,alpha\n  ^"),
        ("alpha alpha", "a comma comes between passes\n  alpha alpha\n        ^^^^^"),
        ("alhpa", "there is no pass 'alhpa'\n  alhpa\n  ^^^^^\n  hint: did you mean 'alpha'?"),
        ("alpha,piar", "there is no pass 'piar'\n  alpha,piar\n        ^^^^\n  hint: did you mean 'pair'?"),
        (
            "alpha{rato=0.5}",
            "pass 'alpha' has no option 'rato'\n  alpha{rato=0.5}\n        ^^^^\n  hint: did you mean 'ratio'?",
        ),
        ("alpha{ratio=1.5}", "option 'ratio' must be between 0 and 1, not 1.5\n  alpha{ratio=1.5}\n              ^^^"),
        ("alpha{ratio=much}", "option 'ratio': takes a number, not 'much'\n  alpha{ratio=much}\n              ^^^^"),
        ("alpha{ratio=nan}", "option 'ratio' takes a number, not nan\n  alpha{ratio=nan}\n              ^^^"),
        (
            "alpha{mode=nera}",
            "option 'mode': there is no 'nera' here\n  alpha{mode=nera}\n             ^^^^\n"
            "  hint: did you mean 'near'?",
        ),
        ("alpha{count=1,2}", "takes a whole number, not 2 values\n  alpha{count=1,2}\n              ^^^"),
        ("alpha{sizes=1,x}", "option 'sizes': takes a whole number, not 'x'\n  alpha{sizes=1,x}\n              ^^^"),
        ("alpha{count=1 count=2}", "option 'count' is given twice\n  alpha{count=1 count=2}\n                ^^^^^"),
        (
            "alpha{count=1,ratio=1}",
            "options are separated by spaces, a comma separates values\n"
            "  alpha{count=1,ratio=1}\n                ^^^^^\n  hint: leave the comma out",
        ),
        ("alpha{count}", "option 'count' needs a value: count=...\n  alpha{count}\n             ^"),
        ("alpha{count=}", "here a value of 'count' is missing\n  alpha{count=}\n              ^"),
        ("alpha{count=1", "the brace is not closed\n  alpha{count=1\n               ^"),
        ("alpha}", "a comma comes between passes\n  alpha}\n       ^"),
        ("alpha{=1}", "here an option is missing\n  alpha{=1}\n        ^"),
        (
            "beta-2",
            "pass 'beta-2' needs option 'size'\n  beta-2\n  ^^^^^^\n  hint: beta-2{size=...}",
        ),
        ("pair{count=1}", "pipeline 'pair' takes no options\n  pair{count=1}\n       ^^^^^"),
        ("loop", "pipeline 'loop' contains itself (in pipeline 'loop2')\n  loop\n  ^^^^"),
        ("rotten", "pass 'alpha' has no option 'cuont' (in pipeline 'rotten')\n  alpha{cuont=3}\n        ^^^^^"),
        ("alpha,\nbeta-2{\n  siez=3\n}", "pass 'beta-2' has no option 'siez'\n    siez=3\n    ^^^^"),
    ],
)
def test_does_not_read_and_says_where(text, message, plugins):
    with pytest.raises(PipelineError) as caught:
        Pipeline.parse(text, plugins)
    assert message in str(caught.value)


WORDS = st.text(st.characters(exclude_characters=",{}=", exclude_categories=("Cs",)), min_size=1, max_size=8).filter(
    lambda word: not any(letter.isspace() for letter in word)
)
ALPHAS = st.builds(
    Alpha,
    ratio=st.floats(0, 1) | st.integers(0, 1),
    count=st.integers(),
    flag=st.booleans(),
    mode=st.sampled_from(["near", "far"]),
    word=WORDS,
    limit=st.none() | st.floats(allow_nan=False) | st.integers(-(2**53), 2**53),
    targets=st.lists(WORDS, max_size=3).map(tuple).filter(lambda words: words != ("none",)),
    sizes=st.lists(st.integers(), max_size=3).map(tuple),
)
PIPELINES = st.lists(ALPHAS | st.builds(BetaTwo, size=st.integers(1)), min_size=1, max_size=4).map(
    lambda passes: Pipeline(tuple(passes))
)


@given(PIPELINES)
@settings(max_examples=300, deadline=None)
def test_every_pipeline_reads_back_from_its_text(plugins, pipeline):
    read = Pipeline.parse(str(pipeline), plugins)
    assert read == pipeline
    assert str(read) == str(pipeline)


@given(PIPELINES, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_white_space_is_free(plugins, pipeline, random):
    spaced = "".join(
        letter + random.choice(["", " ", "\n", "\t "]) if letter in ",{}=" else letter for letter in str(pipeline)
    )
    assert Pipeline.parse(spaced, plugins) == pipeline


@given(st.text("alph,{}= \nratio0.5betw-2", max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_reads_or_is_refused_with_a_caret(plugins, text):
    refused = ""
    try:
        read = Pipeline.parse(text, plugins)
    except PipelineError as error:
        refused = str(error)
    assert "^" in refused if refused else Pipeline.parse(str(read), plugins) == read


def test_of_takes_texts_pipelines_and_passes(plugins):
    passes = (Alpha(), BetaTwo(2))
    assert Pipeline.of("alpha,beta-2{size=2}", plugins).passes == passes
    assert Pipeline.of(Pipeline(passes)).passes == passes
    assert Pipeline.of(list(passes)).passes == passes
    assert Pipeline.of(Alpha()).passes == (Alpha(),)


@pytest.mark.parametrize(("given", "named"), [([Alpha], "the class Alpha"), (["alpha"], "'alpha'"), ([None], "None")])
def test_of_refuses_what_is_no_pass(given, named):
    with pytest.raises(PipelineError, match=f"a pipeline takes passes, not {named}"):
        Pipeline.of(given)


def test_two_passes_of_one_name_are_both_named():
    @dataclass(frozen=True)
    class Other(Alpha):
        """Be called as another."""

    class Second:
        @fxc.hookimpl
        def register_passes(self, register):
            register(Other)

    plugins = fxc.Plugins(autoload=False)
    plugins.register(Bringer(), "bringer")
    with pytest.raises(fxc.FxcompressError) as caught:
        plugins.register(Second(), "second")
    text = str(caught.value)
    assert "pass 'alpha' is registered twice" in text
    assert "Alpha by plugin 'bringer'" in text
    assert "Other by plugin 'second'" in text
    assert "-p no:second" in text


def test_options_may_be_spelled_with_hyphens():
    assert str(Pipeline.parse("quantize{min-sqnr=22 bias-correction=true}")) == (
        "quantize{bias_correction=true min_sqnr=22.0}"
    )
    with pytest.raises(PipelineError, match="option 'min_sqnr' is given twice"):
        Pipeline.parse("quantize{min-sqnr=22 min_sqnr=20}")
