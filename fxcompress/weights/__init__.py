"""The stored tensors that layers multiply with or look up: which they are, who reads them, and along which axes."""

from fxcompress.weights.selected import Weight as Weight
from fxcompress.weights.selected import dequantizes as dequantizes
from fxcompress.weights.selected import selected_weights as selected_weights
from fxcompress.weights.selected import stored_axis as stored_axis
from fxcompress.weights.selected import stored_behind as stored_behind
from fxcompress.weights.selected import uses_of as uses_of
from fxcompress.weights.selected import weights_of as weights_of
