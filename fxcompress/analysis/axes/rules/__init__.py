"""What ATen's operators do to axes."""

from fxcompress.analysis.axes.rules import convolutions as convolutions
from fxcompress.analysis.axes.rules import indexing as indexing
from fxcompress.analysis.axes.rules import pieces as pieces
from fxcompress.analysis.axes.rules import pointwise as pointwise
from fxcompress.analysis.axes.rules import products as products
from fxcompress.analysis.axes.rules import quantized as quantized
from fxcompress.analysis.axes.rules import recurrent as recurrent
from fxcompress.analysis.axes.rules import reductions as reductions
from fxcompress.analysis.axes.rules import shapes as shapes
from fxcompress.analysis.axes.rules.table import AFFINE as AFFINE
from fxcompress.analysis.axes.rules.table import KEEP as KEEP
from fxcompress.analysis.axes.rules.table import LOSE as LOSE
from fxcompress.analysis.axes.rules.table import POINTWISE as POINTWISE
from fxcompress.analysis.axes.rules.table import PRODUCT as PRODUCT
from fxcompress.analysis.axes.rules.table import TABLE as TABLE
from fxcompress.analysis.axes.rules.table import Rule as Rule
