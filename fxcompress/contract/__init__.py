"""What a pass is: a frozen dataclass with options, statistics and one method, and what it is given to work with."""

from fxcompress.contract.axis_rules import axis_rule as axis_rule
from fxcompress.contract.context import PassContext as PassContext
from fxcompress.contract.context import Resources as Resources
from fxcompress.contract.context import TrainingData as TrainingData
from fxcompress.contract.kernels import Device as Device
from fxcompress.contract.kernels import Kernel as Kernel
from fxcompress.contract.kernels import Linear as Linear
from fxcompress.contract.kernels import Site as Site
from fxcompress.contract.kernels import check_kernel as check_kernel
from fxcompress.contract.options import above as above
from fxcompress.contract.options import at_least as at_least
from fxcompress.contract.options import between as between
from fxcompress.contract.options import option as option
from fxcompress.contract.options import options_of as options_of
from fxcompress.contract.passes import Pass as Pass
from fxcompress.contract.passes import Statistic as Statistic
from fxcompress.contract.passes import check_class as check_class
from fxcompress.contract.passes import statistic as statistic
from fxcompress.contract.passes import statistics_of as statistics_of
from fxcompress.contract.registry import Registered as Registered
from fxcompress.contract.registry import Registry as Registry
from fxcompress.contract.targets import Emitted as Emitted
from fxcompress.contract.targets import Target as Target
from fxcompress.contract.targets import check_target as check_target
