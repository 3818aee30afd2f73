"""A report as one page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from fxcompress.inspect.as_html import bar_pair, bars, graph, legend
from fxcompress.inspect.figures import Figures, LayerRow, Measurement, StepRow
from fxcompress.inspect.markup import Markup, breakable, element, join, page, section, table
from fxcompress.inspect.ranking_html import ranking_section
from fxcompress.inspect.report_text import change_text, difference_text, statistics_text
from fxcompress.inspect.trajectory_html import trajectory_section
from fxcompress.inspect.units import NOTHING, Unit, quantity, ratio_text
from fxcompress.text import plural


def report_page(report: Figures) -> str:
    """Return the whole page."""
    total = report.diff
    return page(
        report.model,
        element(
            "header", element("h1", report.model), element("p", element("code", report.pipeline), class_="pipeline")
        ),
        section("Before and after", _measurements(report.measurements)),
        trajectory_section(report.trajectory),
        section("Notes", _list(report.notes)),
        section("Passes", _steps(report.steps)),
        *(ranking_section(step.ranking) for step in report.steps if step.ranking is not None),
        section("Layers", _layers(report.layers)),
        ranking_section(report.worst_layers),
        section("Bytes by module", bars(total) if total and not report.layers else ""),
        section("Graph", graph(total) if total is not None else ""),
        section("Environment", _environment(report.environment)),
    )


def _list(texts: tuple[str, ...]) -> Markup:
    return element("ul", *(element("li", text) for text in texts), class_="notes") if texts else Markup()


def _measurements(measurements: tuple[Measurement, ...]) -> Markup:
    if not measurements:
        return Markup()
    noted = any(measurement.note for measurement in measurements)
    headers = ["", "before>", "after>", "ratio>", "", *(["note"] if noted else [])]
    return table(headers, (_measurement(measurement, noted) for measurement in measurements), class_="measurements")


def _measurement(measurement: Measurement, noted: bool) -> list[str]:
    unit, ratio = measurement.unit, measurement.ratio
    drawn = ratio is not None and unit in ("count", "bytes", "macs", "seconds")
    share = _share(ratio) if drawn and ratio is not None else Markup()
    return [
        measurement.name,
        quantity(measurement.before, unit, measurement.spread_before),
        quantity(measurement.after, unit, measurement.spread_after),
        NOTHING if unit == "dB" else ratio_text(measurement.before, measurement.after),
        share,
        *([measurement.note] if noted else []),
    ]


def _share(ratio: float) -> Markup:
    """Return a bar on a track whose mark, at three quarters, is the figure before."""
    bar = element("span", style=f"width:{75 * min(max(ratio, 0), 4 / 3):.1f}%")
    return element("span", bar, class_="share", aria_hidden="true")


def _steps(steps: tuple[StepRow, ...]) -> Markup:
    if not steps:
        return Markup()
    names = ("", "pass", "fidelity", "time", "nodes", "difference", "statistics")
    head = element("div", *(element("span", name) for name in names), class_="step heads", aria_hidden="true")
    return element("div", head, *(_step(number, step) for number, step in enumerate(steps, 1)), class_="steps")


def _step(number: int, step: StepRow) -> Markup:
    cells = [
        ("", str(number)),
        ("pass", join([element("code", step.text), " ", element("small", step.plugin)])),
        ("fidelity", step.fidelity),
        ("time", quantity(step.seconds, "seconds")),
        ("nodes", change_text(step)),
        ("difference", difference_text(step)),
        ("statistics", statistics_text(step)),
    ]
    line = [element("span", text, data_label=label) for label, text in cells]
    inside = [_list(step.notes), graph(step.diff, whole=False) if step.diff is not None else Markup()]
    if not any(inside):
        return element("div", *line, class_="step")
    return element("details", element("summary", *line, class_="step"), *inside)


def _layers(layers: tuple[LayerRow, ...]) -> Markup:
    """Return a table of the layers that have tensors, and behind a click one of the others."""
    if not layers:
        return Markup()
    most = max(max(layer.bytes_before or 0, layer.bytes_after or 0) for layer in layers)
    heavy, light = ([layer for layer in layers if bool(_weight(layer)) is wanted] for wanted in (True, False))
    if not heavy:
        return _layer_table(light, most)
    parts = [legend(), _layer_table(heavy, most)]
    if light:
        summary = element("summary", plural(len(light), "layer"), " without tensors")
        parts.append(element("details", summary, _layer_table(light, most), class_="more"))
    return join(parts)


def _weight(layer: LayerRow) -> int:
    return max(layer.bytes_before or 0, layer.bytes_after or 0, layer.params_before or 0, layer.params_after or 0)


def _layer_table(layers: list[LayerRow], most: int) -> Markup:
    """Return a table of `layers`, without the columns that hold nothing, on the scale of `most` bytes."""
    columns: list[tuple[str, Callable[[LayerRow], str]]] = [
        ("kind", lambda layer: layer.kind),
        ("params>", lambda layer: _change(layer.params_before, layer.params_after, "count")),
        ("MACs>", lambda layer: _change(layer.macs_before, layer.macs_after, "macs")),
        ("time>", lambda layer: _change(layer.seconds_before, layer.seconds_after, "seconds")),
        ("SQNR>", lambda layer: "" if layer.sqnr_db is None else quantity(layer.sqnr_db, "dB")),
        ("bytes>", lambda layer: _change(layer.bytes_before, layer.bytes_after, "bytes")),
        ("size", lambda layer: bar_pair(layer.bytes_before, layer.bytes_after, most)),
    ]
    filled = [(name, cell) for name, cell in columns if any(cell(layer) for layer in layers)]
    rows = ([breakable(layer.scope), *(cell(layer) for _, cell in filled)] for layer in layers)
    return table(["layer", *(name for name, _ in filled)], rows, class_="layers")


def _change(before: float | None, after: float | None, unit: Unit) -> str:
    """Return both figures, one where they are equal, none where there is nothing to count."""
    if not before and not after:
        return ""
    if before == after:
        return quantity(before, unit)
    return f"{quantity(before, unit)} → {quantity(after, unit)}"


def _environment(environment: Mapping[str, str]) -> Markup:
    def pairs() -> Iterator[Markup]:
        for name, value in environment.items():
            yield element("div", element("dt", name), element("dd", value))

    return element("dl", *pairs(), class_="environment") if environment else Markup()
