"""Kernels compiled for GPUs that are not there: some configurations here, all of them by `make kernels`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
MATRIX = {"sm_80": {"HMMA", "IMMA"}, "sm_89": {"HMMA", "IMMA", "QMMA"}, "sm_90": {"HGMMA", "IGMMA", "QGMMA"}}
# Bytes of shared memory that a program may have, as NVIDIA's tuning guides give them.
SHARED = {"sm_80": 163 * 1024, "sm_89": 99 * 1024, "sm_90": 227 * 1024}
# A body of a loop of 5 instructions, a shorter one without a matrix instruction, and what stands around them.
LISTING = """
.text.kernel:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/                   IADD3 R0, R0, 0x1, RZ ;
        /*0020*/              @!P0 BRA `(.L_x_0) ;
.L_x_1:
        /*0030*/                   LDS R4, [R2] ;
        /*0040*/                   HGMMA.64x16x16.F32.BF16 R24, R4, gdesc[UR4], R24 ;
        /*0050*/                   FFMA R8, R8, R9, R10 ;
        /*0060*/              @P1  BRA `(.L_x_2) ;
        /*0070*/              @!P0 BRA `(.L_x_1) ;
.L_x_2:
        /*0080*/                   EXIT ;
"""


def test_some_configurations(tmp_path):
    command = [sys.executable, BENCHMARKS / "aot.py", "--every", "90", "--json", tmp_path / "aot.json"]
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path / "cache")}
    environment.pop("TRITON_INTERPRET", None)
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    records = json.loads((tmp_path / "aot.json").read_text())["rows"]
    assert {each["arch"] for each in records} == set(MATRIX)
    for each in records:
        assert each["stack"] == 0
        assert 0 < each["registers"] <= 255
        assert each["shared"] <= SHARED[each["arch"]]
        assert each["mma"] in MATRIX[each["arch"]] | {""}
        assert not each["wrong"]


def test_loops_and_matrix_instructions_of_a_listing(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from ahead_of_time import machine_code

    texts = {"cuobjdump": " Function kernel:\n  REG:40 STACK:8 SHARED:1024 LOCAL:0\n", "nvdisasm": LISTING}
    monkeypatch.setattr(machine_code, "_tool", lambda name, *arguments: texts[name])

    class Compiled:
        asm = {"cubin": b""}

        class metadata:
            shared = 2048

    code = machine_code.machine_code(Compiled)
    assert (code.registers, code.stack, code.shared, code.matrix, code.loop) == (40, 8, 2048, ("HGMMA",), 5)
