"""Distillation: what a teacher says and what it sees inside, as losses of a student that learns from it."""

from fxcompress.distilling.arranging import arrange as arrange
from fxcompress.distilling.arranging import distillation as distillation
from fxcompress.distilling.objective import Distillation as Distillation
from fxcompress.distilling.recipe import Recipe as Recipe
