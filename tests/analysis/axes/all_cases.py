"""The cases of all rules, registered by importing their modules."""

from __future__ import annotations

import cases_indexing as cases_indexing
import cases_layers as cases_layers
import cases_order as cases_order
import cases_pieces as cases_pieces
import cases_pointwise as cases_pointwise
import cases_products as cases_products
import cases_reductions as cases_reductions
import cases_shapes as cases_shapes
import cases_space as cases_space
from cases import CASES as CASES
