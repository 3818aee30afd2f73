"""Reports as table, JSON and page."""

from __future__ import annotations

import json
import math

import pytest
from drafts import Draft, aten
from pages import checked
from test_diff_html import HOSTILE

from fxcompress.inspect import LayerRow, Measurement, Ranked, Ranking, Report, StepRow, diff_snapshots, snapshot
from fxcompress.inspect.units import quantity, ratio_text


def chain(*ops):
    draft = Draft()
    x = draft.input("x", 2)
    for op in ops:
        x = draft.call(op, x)
    return snapshot(draft.module(x), f"{len(ops)} calls")


def example(**fields):
    diff = diff_snapshots(chain(aten.relu.default), chain(aten.relu.default, aten.tanh.default))
    given = {
        "model": "digits",
        "pipeline": "fold-bn, mask{sparsity=0.5}",
        "measurements": (
            Measurement("parameters", "count", 9898, 7586),
            Measurement("bytes on disk", "bytes", 39_592, 11_000, note="safetensors"),
            Measurement("latency", "seconds", 0.00345, 0.00123, 0.0001, 0.00002, "median of 30 runs"),
            Measurement("SQNR", "dB", None, 34.24),
            Measurement("accuracy", "score", 0.9821, 0.9788),
        ),
        "steps": (
            StepRow("fold-bn", "built-in", "exact", 0.0123, True, 1.3e-6, {"folded": 2}, (), diff),
            StepRow("mask{sparsity=0.5}", "built-in", "lossy", 1.5, False, None, {}, ("fc was left alone",)),
        ),
        "layers": (
            LayerRow("conv", "conv2d", 100, 50, 400, 200, 6400, 3200, 31.5),
            LayerRow("fc", "linear", 10, 10, 40, 40),
        ),
        "notes": ("the batch dimension is static",),
        "diff": diff,
        "environment": {"torch": "2.13.0"},
    }
    return Report(**{**given, **fields})


TEXT = """\
digits: fold-bn, mask{sparsity=0.5}

                       before           after    ratio
-------------  --------------  --------------  -------  -----------------
parameters              9,898           7,586    0.766
bytes on disk         39.6 kB         11.0 kB    0.278  safetensors
latency        3.45 ± 0.10 ms  1.23 ± 0.02 ms    0.357  median of 30 runs
SQNR                        -         34.2 dB        -
accuracy               0.9821          0.9788    0.997

    pass                fidelity       time      nodes    difference  statistics
--  ------------------  ----------  -------  ---------  ------------  ------------
 1  fold-bn             exact       12.3 ms         +1       1.3e-06  folded: 2
 2  mask{sparsity=0.5}  lossy        1.50 s  no change             -
pass 2: fc was left alone

Layers that lose most:
layer       SQNR    error
-------  -------  -------
conv     31.5 dB     2.7%

note: the batch dimension is static"""


def test_text():
    assert [line.rstrip() for line in str(example()).splitlines()] == TEXT.splitlines()


def test_text_is_never_wider_than_110_columns():
    long = "word " * 60
    report = example(
        model=long,
        notes=(long, "x" * 300),
        measurements=(Measurement("a name that goes on " * 3, "seconds", 1e-3, 2e-3, 1e-4, 1e-4, long),),
        steps=(StepRow(long, "p", "close", 1.0, True, 0.5, {long: 12345678, "b" * 50: 0.123456}, (long,)),),
    )
    assert max(map(len, str(report).splitlines())) <= 110


def test_an_empty_report():
    report = Report("model", "")
    assert str(report) == "model: no pass"
    assert "model" in checked(report.to_html()).text
    assert report.to_dict()["measurements"] == []


def test_json():
    report = example(measurements=(Measurement("x", "dB", math.inf, math.nan), Measurement("y", "count", 4, 1)))
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["format"] == "fxcompress-report/1"
    assert (found["measurements"][0]["before"], found["measurements"][0]["after"]) == (None, None)
    assert [measurement["ratio"] for measurement in found["measurements"]] == [None, 0.25]
    assert found["steps"][0]["diff"]["added"] == 1
    assert found["steps"][0]["statistics"] == {"folded": 2}
    assert found["layers"][1]["sqnr_db"] is None
    assert found["environment"] == {"torch": "2.13.0"}


def test_page():
    page = checked(example().to_html())
    for text in (
        "digits",
        "39.6 kB",
        "0.278",
        "3.45 ± 0.10 ms",
        "34.2 dB",
        "fold-bn",
        "1.3e-06",
        "6.40 k → 3.20 k",
        "31.5 dB",
        "the batch dimension is static",
        "fc was left alone",
        "2.13.0",
        "%tanh_default",
    ):
        assert text in page.text
    layers = page.text[page.text.index("Layers") : page.text.index("Layers that lose most")]
    headers = [layers.index(header) for header in ("layer", "kind", "params", "MACs", "SQNR", "bytes", "size", "conv")]
    assert headers == sorted(headers)
    assert "time" not in layers[: layers.index("conv")], "only columns that hold something"


def test_hostile_texts_stay_text():
    report = example(
        model=HOSTILE,
        pipeline=HOSTILE,
        measurements=(Measurement(HOSTILE, "count", 1, 2, note=HOSTILE),),
        steps=(StepRow(HOSTILE, HOSTILE, HOSTILE, 1.0, True, None, {HOSTILE: 1}, (HOSTILE,)),),
        layers=(LayerRow(HOSTILE, HOSTILE, bytes_before=1),),
        notes=(HOSTILE,),
        environment={HOSTILE: HOSTILE},
    )
    source = report.to_html()
    checked(source)
    assert "\u202e" not in source
    assert "\x1b" not in str(report)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "bytes", "-"),
        (0, "bytes", "0 B"),
        (999, "bytes", "999 B"),
        (999_950, "bytes", "1.00 MB"),
        (1_234_567, "bytes", "1.23 MB"),
        (123_456, "count", "123,456"),
        (25_557_032, "count", "25.6 M"),
        (4_089_000_000, "macs", "4.09 G"),
        (0, "seconds", "0 s"),
        (9.996, "seconds", "10.0 s"),
        (0.0034, "seconds", "3.40 ms"),
        (75.25, "seconds", "75.2 s"),
        (2e-10, "seconds", "0.20 ns"),
        (math.inf, "dB", "exact"),
        (math.nan, "score", "nan"),
        (0.98, "score", "0.98"),
        (-3.25, "dB", "-3.2 dB"),
    ],
)
def test_quantities(value, unit, text):
    assert quantity(value, unit) == text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (4, 1, "0.250"),
        (1, 12.5, "12.5"),
        (0, 1, "-"),
        (None, 1, "-"),
        (1, None, "-"),
        (math.inf, 1, "-"),
        (3, 3, "1.000"),
    ],
)
def test_ratios(before, after, text):
    assert ratio_text(before, after) == text


def ranking(count):
    rows = tuple(Ranked(f"layer{n}", 10.0 + n, n / 10, "in floats" if n == 0 else "") for n in range(count))
    return Ranking("What each loses", rows)


def test_a_ranking_is_cut_in_text_and_folded_on_the_page():
    report = example(steps=(StepRow("sensitivity", "p", "exact", 1.0, False, ranking=ranking(14)),))
    text = str(report)
    assert "layer9" in text
    assert "layer10" not in text
    assert "and 4 layers more that lose less" in text
    assert "in floats" in text
    page = checked(report.to_html())
    assert "layer13" in page.text
    assert "4 layers that lose less" in page.text
    assert "10.0 dB · 32%" in page.text
    assert len(json.loads(json.dumps(report.to_dict()))["steps"][0]["ranking"]["rows"]) == 14
    assert "layer13" in str(ranking(14)), "the whole table where it is asked for"


def test_bars_of_a_ranking_stand_for_errors_of_amplitudes():
    rows = (Ranked("a", -math.inf), Ranked("b", 20.0), Ranked("c", 40.0), Ranked("", math.inf))
    report = example(
        steps=(StepRow("sensitivity", "p", "exact", 1.0, False, ranking=Ranking("Loss", rows)),), layers=()
    )
    page = report.to_html()
    checked(page)
    widths = [part.split("%")[0] for part in page.split('class="bar after" style="width:')[1:5]]
    assert widths == ["100.00", "100.00", "10.00", "0.00"]
    assert "exact" in page
    assert "(top)" in page
