"""Conformance tests for passes, ours and a plugin's: `check_pass`, and the small models that it runs them on."""

from fxcompress.testing.check import CheckReport as CheckReport
from fxcompress.testing.check import check_pass as check_pass
from fxcompress.testing.examples import Example as Example
from fxcompress.testing.examples import examples as examples
