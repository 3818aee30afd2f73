"""`fxcompress tune`: how kernels are best cut on the GPU at hand."""

from __future__ import annotations

from pathlib import Path

import click

from fxcompress.cli.options import FOLDER, quiet_option
from fxcompress.cli.progress import Progress


class Shapes(click.ParamType[list[tuple[int, int]]]):
    """Sizes of weights as `4096x11008,8192x28672`: features by outputs."""

    name = "FEATURESxOUTPUTS,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> list[tuple[int, int]]:
        if isinstance(value, list):
            return value
        try:
            pairs = [tuple(map(int, word.split("x"))) for word in str(value).split(",")]
        except ValueError:
            pairs = [()]
        if any(len(pair) != 2 or min(pair) < 1 for pair in pairs):
            self.fail(f"{value!r} is not like 4096x11008,8192x28672", param, ctx)
        return [(pair[1], pair[0]) for pair in pairs]


class Numbers(click.ParamType[list[int]]):
    """Whole numbers as `1,16,64`."""

    name = "M,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        words = str(value).split(",")
        if not all(word.isdecimal() and int(word) for word in words):
            self.fail(f"{value!r} is not like 1,16,64", param, ctx)
        return [int(word) for word in words]


@click.command()
@click.option("--kernel", "kernels", multiple=True, metavar="NAME", help="Kernels to tune; all by default.")
@click.option("--shapes", type=Shapes(), default="4096x4096,4096x11008,8192x28672", show_default=True,
              help="Sizes of weights.")  # fmt: skip
@click.option("--rows", type=Numbers(), default="8,16,32,64,128,256,512", show_default=True, help="Rows of the input.")
@click.option("-o", "--output", type=FOLDER, default="kernel-tables", show_default=True, help="Folder of the table.")
@quiet_option
def tune(kernels: tuple[str, ...], shapes: list[tuple[int, int]], rows: list[int], output: Path, quiet: bool) -> None:
    """Measure how the kernels of `lower{device=cuda}` are best cut on the GPU at hand, and write it as a table.

    A run that is stopped goes on where it was when it is started again with the same folder. Kernels read the table
    where the environment variable FXCOMPRESS_KERNEL_TABLES names the folder.
    """
    from fxcompress.tuning import tasks_for
    from fxcompress.tuning import tune as measure
    from fxcompress.tuning.gpu_timer import GpuTimer

    timer = GpuTimer()
    tasks = tasks_for(kernels, shapes, rows, fp8=timer.capability >= (8, 9))
    with Progress(quiet=quiet) as progress:
        path = measure(tasks, timer, output, progress)
    click.echo(f"{path}: {len(tasks)} products on {timer.device}")
    click.echo(f"use it with  FXCOMPRESS_KERNEL_TABLES={output}")
