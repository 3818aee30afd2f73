"""Broken plugins are named one by one, with their distribution and the way out; the others go on."""

import pytest

from .conftest import ENTRIES

WITHOUT = "\n  hint: go on without it with  -p no:{}\n"

# What is loaded, the rest being blocked: the error.
ERRORS = {
    "broken": "plugin 'broken' (broken-dist 1.2, module broken_mod) does not import: No module named 'not_there'"
    + WITHOUT.format("broken"),
    "failing": "plugin 'failing' (broken-dist 1.2, module failing_mod) does not import: ValueError: a bad day"
    + WITHOUT.format("failing"),
    "garbled": "plugin 'garbled' (broken-dist 1.2, module garbled_mod) does not import: SyntaxError: ",
    "missing": "plugin 'missing' (broken-dist 1.2, module whole_mod) does not import: "
    "module 'whole_mod' has no attribute 'absent'" + WITHOUT.format("missing"),
    "moduleless": "plugin 'moduleless' (broken-dist 1.2, module no_such_module) does not import: "
    "No module named 'no_such_module'" + WITHOUT.format("moduleless"),
    "hookless": "plugin 'hookless' (broken-dist 1.2) has no hook of fxcompress\n"
    "  hint: mark one with @fxcompress.hookimpl, or go on without it with  -p no:hookless\n",
    "misspelt": "plugin 'misspelt' (broken-dist 1.2) has an unknown hook 'register_pases'\n"
    "  hint: did you mean 'register_passes'?\n",
    "argument": "plugin 'argument' (broken-dist 1.2) does not register: Plugin 'argument' for hook 'register_passes'",
    "raising": "plugin 'raising' (broken-dist 1.2) fails in register_passes: NameError: name 'nonsense' is not defined"
    + WITHOUT.format("raising"),
    "shared": "two distributions bring a plugin 'shared': broken-dist 1.2 and other-dist 0.3\n"
    "  hint: uninstall one of them, or go on without both with  -p no:shared\n",
    "undocumented": "plugin 'undocumented': pass class twins_mod.Undocumented has no docstring\n"
    "  hint: its docstring is its manual page\n",
    "no-pass": "plugin 'no-pass': <class 'int'> is no pass class\n  hint: derive it from fxc.Pass\n",
    "twin-a twin-b": "pass 'twin' is registered twice: twins_mod.First by plugin 'twin-a' and twins_mod.Second by plugin "
    "'twin-b'\n  hint: block one of them with  -p no:twin-b\n",
}


def blocking_all_but(names):
    """Block every plugin of the site but some; that called `passes` stands and falls with the built-in one."""
    blocked = [name for name in ENTRIES if name not in names and name != "passes"]
    return [word for name in blocked for word in ("-p", f"no:{name}")]


@pytest.fixture(scope="module")
def outcomes(bad):
    commands = {names: (["plugins", *blocking_all_but(names.split())], {}) for names in ERRORS}
    commands["taken"] = (["plugins", *blocking_all_but(())], {})
    commands["one twin"] = (["passes", *blocking_all_but(["twin-b"]), "-p", "no:passes"], {})
    commands["none left"] = (["plugins", *blocking_all_but(()), "-p", "no:passes"], {})
    commands["all"] = (["passes"], {})
    commands["not autoloaded"] = (["plugins"], {"FXCOMPRESS_DISABLE_AUTOLOAD": "1"})
    commands["asked for"] = (["plugins", "-p", "broken"], {"FXCOMPRESS_DISABLE_AUTOLOAD": "1"})
    commands["module"] = (["plugins", "-p", "broken_mod"], {"FXCOMPRESS_DISABLE_AUTOLOAD": "1"})
    return bad.run(commands)


@pytest.mark.parametrize("names", ERRORS)
def test_a_broken_plugin_is_named_with_the_way_out(outcomes, names):
    # The plugin that takes the name of the built-in one comes behind `no-pass` in the alphabet and before others.
    assert outcomes[names].code == 2
    assert outcomes[names].out == ""
    assert outcomes[names].err.startswith(f"error: {ERRORS[names]}")


def test_a_name_of_a_built_in_plugin_is_taken(outcomes):
    assert outcomes["taken"].code == 2
    assert "plugin 'passes' (broken-dist 1.2) does not register" in outcomes["taken"].err


def test_without_the_broken_ones_it_goes_on(outcomes):
    assert (outcomes["none left"].code, outcomes["none left"].names) == (0, [])
    assert outcomes["one twin"].names == ["twin"]


def test_the_first_broken_one_ends_the_run(outcomes):
    assert outcomes["all"].code == 2
    assert outcomes["all"].err.startswith("error: plugin 'argument'")


def test_where_nothing_is_autoloaded_nothing_breaks(outcomes):
    assert outcomes["not autoloaded"].names == ["passes"]
    assert outcomes["asked for"].err == f"error: {ERRORS['broken']}"
    assert outcomes["module"].err == (
        "error: plugin 'broken_mod' is no installed plugin, and as a module it does not import: "
        "No module named 'not_there'\n  hint: did you mean 'broken'?\n"
    )
