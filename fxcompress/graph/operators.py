"""Families of ATen operators."""

from __future__ import annotations

import torch

aten = torch.ops.aten

LINEAR = (aten.linear,)
CONVOLUTIONS = (aten.conv1d, aten.conv2d, aten.conv3d)
TRANSPOSED_CONVOLUTIONS = (aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d)
EMBEDDINGS = (aten.embedding, aten.embedding_bag)
RECURRENT = (aten.lstm, aten.gru, aten.rnn_tanh, aten.rnn_relu)
NORMS = (aten.batch_norm, aten.layer_norm, aten.group_norm, aten.instance_norm, aten.rms_norm)
