"""Broken plugins are named one by one, with their distribution and the way out; the others go on."""

import pytest

import fxcompress as fxc

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
    "twin-a twin-b": "pass 'twin' is registered twice: twins_mod.First by plugin 'twin-a' and twins_mod.Second"
    " by plugin 'twin-b'\n  hint: block one of them with  -p no:twin-b\n",
}


@pytest.fixture(scope="module")
def outcomes(bad, blockable):
    def blocking_all_but(names):
        return [word for name in blockable if name not in names.split() for word in ("-p", f"no:{name}")]

    commands = {names: (["plugins", *blocking_all_but(names)], {}) for names in ERRORS}
    commands["one twin"] = (["passes", *blocking_all_but("twin-b"), "-p", "no:passes"], {})
    commands["none left"] = (["plugins", *blocking_all_but("")], {})
    commands["all"] = (["passes"], {})
    commands["not autoloaded"] = (["plugins"], {"FXCOMPRESS_DISABLE_AUTOLOAD": "1"})
    commands["asked for"] = (["plugins", "-p", "broken"], {"FXCOMPRESS_DISABLE_AUTOLOAD": "1"})
    commands["module"] = (["plugins", "-p", "broken_mod"], {"FXCOMPRESS_DISABLE_AUTOLOAD": "1"})
    return bad.run(commands)


@pytest.mark.parametrize("names", ERRORS)
def test_a_broken_plugin_is_named_with_the_way_out(outcomes, names):
    assert outcomes[names].code == 2
    assert outcomes[names].out == ""
    assert outcomes[names].err.startswith(f"error: {ERRORS[names]}")


def test_without_the_broken_ones_it_goes_on(outcomes):
    assert (outcomes["none left"].code, outcomes["none left"].names) == (0, ["passes", "targets"])
    assert outcomes["one twin"].names == ["twin"]


def test_the_first_broken_one_ends_the_run(outcomes):
    assert outcomes["all"].code == 2
    assert outcomes["all"].err.startswith("error: plugin 'argument'")


def test_where_nothing_is_autoloaded_nothing_breaks(outcomes):
    assert outcomes["not autoloaded"].names == ["passes", "targets"]
    assert outcomes["asked for"].err == f"error: {ERRORS['broken']}"
    assert outcomes["module"].err == (
        "error: plugin 'broken_mod' is no installed plugin, and as a module it does not import: "
        "No module named 'not_there'\n  hint: did you mean 'broken'?\n"
    )


class Hooked:
    @fxc.hookimpl
    def register_passes(self, register):
        pass


def test_a_name_is_taken_once():
    plugins = fxc.Plugins()
    with pytest.raises(fxc.FxcompressError, match=r"plugin 'passes' \(object\) does not register"):
        plugins.register(Hooked(), "passes")


def test_an_object_with_an_unknown_hook_is_refused():
    class Misspelt:
        @fxc.hookimpl
        def register_instrument(self, register):
            pass

    with pytest.raises(fxc.FxcompressError, match="did you mean 'register_instruments'"):
        fxc.Plugins().register(Misspelt(), "misspelt")
