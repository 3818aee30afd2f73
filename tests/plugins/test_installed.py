"""Plugins that are installed: load order, blocking, loading by name, and what they bring."""

import json
import subprocess
import sys

import pytest

from fxcompress.plugins import DISABLE_AUTOLOAD

OFF = {DISABLE_AUTOLOAD: "1"}

MODEL = """
import torch
def factory():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8)).eval()
    return model, (torch.randn(4, 32),)
"""


@pytest.fixture(scope="module")
def outcomes(good, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    (folder / "model.py").write_text(MODEL)
    model, compress = f"{folder / 'model.py'}:factory", ["--pipeline", "lowrank{ratio=0.5}", "--json", "-q"]
    return good.run(
        {
            "all": (["plugins"], {}),
            "one blocked": (["plugins", "-p", "no:lowrank"], {}),
            "built-ins blocked": (["passes", "-p", "no:passes"], {}),
            "none": (["plugins"], OFF),
            "by entry point": (["plugins", "-p", "memory"], OFF),
            "by module": (["plugins", "-p", "fxcompress_lowrank"], OFF),
            "by module, loaded already": (["plugins", "-p", "fxcompress_lowrank"], {}),
            "twice": (["plugins", "-p", "memory", "-p", "memory"], {}),
            "in the order given": (["plugins", "-p", "memory", "-p", "lowrank"], OFF),
            "both": (["plugins", "-p", "lowrank", "-p", "no:lowrank"], {}),
            "unknown": (["plugins", "-p", "lowrnk"], {}),
            "unknown blocked": (["plugins", "-p", "no:lowrnk"], {}),
            "page": (["passes", "lowrank"], {}),
            "page of a blocked one": (["passes", "lowrank", "-p", "no:lowrank"], {}),
            "page of the skeleton": (["passes", "round-weights"], {}),
            "compress": (["compress", model, *compress, "-i", "memory"], {}),
            "unknown instrument": (["compress", model, *compress, "-i", "memry"], {}),
            "option": (["compress", model, "--pipeline", "lowrank{rato=0.5}"], {}),
        }
    )


def test_built_ins_come_first_then_entry_points_by_name(outcomes):
    assert outcomes["all"].names == [
        "passes",
        "targets",
        "lowrank",
        "memory",
        "openvino",
        "round-weights",
        "scan",
        "sparse24",
    ]
    rows = outcomes["all"].out.splitlines()[2:]
    assert "built in" in rows[0]
    assert "fxcompress-lowrank 0.1.0" in rows[2]
    assert rows[2].endswith("register_passes")
    assert rows[3].endswith("register_instruments")
    assert rows[4].endswith("register_targets")
    assert rows[6].endswith("register_axis_rules")
    assert rows[7].endswith("register_kernels")


def test_a_plugin_can_be_blocked_the_built_in_ones_too(outcomes):
    assert outcomes["one blocked"].names == [
        "passes",
        "targets",
        "memory",
        "openvino",
        "round-weights",
        "scan",
        "sparse24",
    ]
    assert outcomes["built-ins blocked"].names == ["lowrank", "round-weights"]


def test_autoload_can_be_switched_off(outcomes):
    assert outcomes["none"].names == ["passes", "targets"]


def test_plugins_load_by_the_name_of_an_entry_point_or_a_module(outcomes):
    assert outcomes["by entry point"].names == ["passes", "targets", "memory"]
    assert "fxcompress-memory 0.1.0" in outcomes["by entry point"].out
    assert outcomes["by module"].names == ["passes", "targets", "fxcompress_lowrank"]
    assert "module fxcompress_lowrank" in outcomes["by module"].out
    assert outcomes["in the order given"].names == ["passes", "targets", "memory", "lowrank"]


def test_what_is_loaded_already_is_not_loaded_again(outcomes):
    for name in ("by module, loaded already", "twice"):
        assert outcomes[name].names == [
            "passes",
            "targets",
            "lowrank",
            "memory",
            "openvino",
            "round-weights",
            "scan",
            "sparse24",
        ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "both",
            "error: plugin 'lowrank' is both loaded and blocked\n  hint: leave out  -p lowrank  or  -p no:lowrank\n",
        ),
        (
            "unknown",
            "error: plugin 'lowrnk' is no installed plugin, and as a module it does not import: "
            "No module named 'lowrnk'\n"
            "  hint: did you mean 'lowrank'?\n",
        ),
        ("unknown blocked", "error: there is no plugin 'lowrnk' to block\n  hint: did you mean 'lowrank'?\n"),
        ("unknown instrument", "error: there is no instrument 'memry'\n  hint: did you mean 'memory'?\n"),
        (
            "option",
            "error: pass 'lowrank' has no option 'rato'\n  lowrank{rato=0.5}\n          ^^^^\n"
            "  hint: did you mean 'ratio'?\n",
        ),
    ],
)
def test_wrong_calls_end_with_two_and_say_what_to_do(outcomes, name, message):
    assert (outcomes[name].code, outcomes[name].err) == (2, message)


def test_a_plugin_s_pass_has_a_manual_page(outcomes):
    assert outcomes["page"].code == 0
    assert outcomes["page"].out.startswith("lowrank  (lossy)\n")
    assert "round-weights  (lossy)" in outcomes["page of the skeleton"].out
    assert "distance of neighbouring values" in outcomes["page of the skeleton"].out


def test_a_blocked_plugin_s_pass_is_not_there(outcomes):
    assert outcomes["page of a blocked one"].code == 2
    assert "there is no pass 'lowrank'" in outcomes["page of a blocked one"].err


def test_a_run_uses_the_pass_and_the_instrument(outcomes):
    assert outcomes["compress"].code == 0, outcomes["compress"].err
    (stage,) = json.loads(outcomes["compress"].out)["steps"]
    assert stage["plugin"] == "lowrank"
    assert stage["statistics"]["factorized"] == 2
    assert stage["statistics"]["peak_memory_bytes"] > 32 * 32 * 4


def test_the_installed_command_loads_them(good):
    done = subprocess.run(
        [sys.executable, "-m", "fxcompress", "passes", "lowrank"],
        env=good.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lowrank  (lossy)\n")
