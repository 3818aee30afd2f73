"""What the axes of all tensors of a graph are made of, and what can be removed from them.

For everybody: `analyse` a module, then `group_table` or `why`. For who describes an operator by a rule: `Op`, the words
for what a call does to zeros, and those for what it reduces.
"""

from fxcompress.analysis.axes.analyse import Axes as Axes
from fxcompress.analysis.axes.analyse import analyse as analyse
from fxcompress.analysis.axes.axis import AVERAGED as AVERAGED
from fxcompress.analysis.axes.axis import NORMALISED as NORMALISED
from fxcompress.analysis.axes.axis import RMS_NORMALISED as RMS_NORMALISED
from fxcompress.analysis.axes.axis import SUMMED as SUMMED
from fxcompress.analysis.axes.axis import Axis as Axis
from fxcompress.analysis.axes.axis import Value as Value
from fxcompress.analysis.axes.op import Op as Op
from fxcompress.analysis.axes.registering import RegisterAxisRule as RegisterAxisRule
from fxcompress.analysis.axes.rules import AFFINE as AFFINE
from fxcompress.analysis.axes.rules import KEEP as KEEP
from fxcompress.analysis.axes.rules import LOSE as LOSE
from fxcompress.analysis.axes.rules import POINTWISE as POINTWISE
from fxcompress.analysis.axes.rules import PRODUCT as PRODUCT
from fxcompress.analysis.axes.rules import Rule as Rule
from fxcompress.analysis.axes.rules.table import Statement as Statement
from fxcompress.analysis.axes.table import GroupTable as GroupTable
from fxcompress.analysis.axes.table import group_table as group_table
from fxcompress.analysis.axes.why import Why as Why
from fxcompress.analysis.axes.why import why as why
