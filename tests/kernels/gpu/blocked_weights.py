"""Random weights of which some blocks are kept, as the operator takes them and in float64."""

from __future__ import annotations

import torch


def blocked(outputs, features, block, free=False, narrow=False, dtype=torch.float32, share=0.4):
    """Return (blocks, columns, row_pointers or None, scales or None) and the weight, float64 [outputs, features].

    Written block by block: nothing of the package is asked.
    """
    height, width = block
    tall, wide = -(-outputs // height), -(-features // width)
    weight = torch.zeros(outputs, features, dtype=torch.float64)
    scales = torch.rand(outputs) / 100 + 1e-3 if narrow else None
    blocks, columns, starts = [], [], [0]
    for row in range(tall):
        count = max(1, round(share * wide)) if not free else int(torch.randint(0, wide + 1, ()))
        for column in sorted(torch.randperm(wide)[:count].tolist()):
            values = torch.randint(-127, 128, block).to(torch.int8) if narrow else torch.randn(block).to(dtype)
            for r in range(height):
                for c in range(width):
                    if row * height + r < outputs and column * width + c < features:
                        weight[row * height + r, column * width + c] = values[r, c].double()
                    else:
                        values[r, c] = 0
            blocks.append(values)
            columns.append(column)
        starts.append(len(blocks))
    kind = torch.int8 if narrow else dtype
    stored = torch.stack(blocks) if blocks else torch.zeros((0, *block), dtype=kind)
    places = torch.tensor(columns, dtype=torch.int32)
    pointers = torch.tensor(starts, dtype=torch.int32) if free else None
    if scales is not None:
        weight *= scales.double()[:, None]
    return (stored, places if free else places.view(tall, -1), pointers, scales), weight
