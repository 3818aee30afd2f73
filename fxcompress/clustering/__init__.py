"""Weights that share a few values: which values, which weight gets which, and the graph that looks them up."""

from fxcompress.clustering.kmeans import STARTS as STARTS
from fxcompress.clustering.kmeans import Start as Start
from fxcompress.clustering.kmeans import centres_of as centres_of
from fxcompress.clustering.kmeans import nearest as nearest
from fxcompress.clustering.nodes import insert_shared as insert_shared
from fxcompress.clustering.sharing import Shared as Shared
from fxcompress.clustering.sharing import share as share
from fxcompress.clustering.spelling import without_sharing as without_sharing
