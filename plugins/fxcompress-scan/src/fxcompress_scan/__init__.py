"""The plugin `scan`: an operator, and its only hook, which says what the operator does to axes."""

from __future__ import annotations

import torch

import fxcompress as fxc
from fxcompress.analysis.axes import KEEP, RegisterAxisRule
from fxcompress_scan.operator import selective_scan as selective_scan
from fxcompress_scan.rule import scan


@fxc.hookimpl
def register_axis_rules(register: RegisterAxisRule) -> None:
    register(torch.ops.fxcompress_scan.selective_scan, scan, zeros=KEEP)
