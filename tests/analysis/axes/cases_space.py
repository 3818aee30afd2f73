"""Cases: what slides over space, and what moves channels into space and back."""

from __future__ import annotations

from cases import case, family
from one_call import Call, Numbers, T, call

SPACE = {1: [6], 2: [6, 4], 3: [4, 6, 4]}


def _over(n: Numbers, target: str, *rest: object, rank: int = 2, results: int = 1, **kwargs: object) -> Call:
    b, c = n.several(2)
    word = "ff" + "p" * rank
    free = " ".join([word, "->", *[word] * results])
    return call(target, T(b, c, *SPACE[rank]), *rest, free=free, **kwargs)


POOLS = [
    ("max_pool1d", 1, 1, [2]), ("avg_pool1d", 1, 1, [2]), ("adaptive_avg_pool1d", 1, 1, [2]),
    ("adaptive_max_pool1d", 1, 2, [2]), ("max_pool2d", 2, 1, [2, 2]), ("max_pool2d_with_indices", 2, 2, [2, 2]),
    ("avg_pool2d", 2, 1, [2, 2]), ("adaptive_avg_pool2d", 2, 1, [2, 2]), ("adaptive_max_pool2d", 2, 2, [2, 2]),
    ("_adaptive_avg_pool2d", 2, 1, [2, 2]), ("max_pool3d", 3, 1, [2, 2, 2]), ("avg_pool3d", 3, 1, [2, 2, 2]),
    ("max_pool3d_with_indices", 3, 2, [2, 2, 2]), ("adaptive_avg_pool3d", 3, 1, [2, 2, 2]),
    ("adaptive_max_pool3d", 3, 2, [2, 2, 2]), ("_adaptive_avg_pool3d", 3, 1, [2, 2, 2]),
    ("reflection_pad1d", 1, 1, [1, 2]), ("replication_pad1d", 1, 1, [1, 2]),
    ("reflection_pad2d", 2, 1, [1, 2, 0, 1]), ("replication_pad2d", 2, 1, [1, 2, 0, 1]),
    ("replication_pad3d", 3, 1, [1, 2, 0, 1, 1, 1]),
]  # fmt: skip
family("pool", POOLS, lambda n, option: _over(n, option[0], option[3], rank=option[1], results=option[2]))

RESAMPLERS = [
    ("upsample_nearest1d", 1, []), ("_upsample_nearest_exact1d", 1, []), ("upsample_linear1d", 1, [False]),
    ("upsample_nearest2d", 2, []), ("_upsample_nearest_exact2d", 2, []), ("upsample_bilinear2d", 2, [False]),
    ("upsample_bicubic2d", 2, [False]), ("_upsample_bilinear2d_aa", 2, [False]),
    ("_upsample_bicubic2d_aa", 2, [False]), ("upsample_nearest3d", 3, []), ("upsample_trilinear3d", 3, [False]),
]  # fmt: skip
family("resample", RESAMPLERS, lambda n, option: _over(n, option[0], [8] * option[1], *option[2], rank=option[1]))


@case
def pool_without_batch(n: Numbers) -> Call:
    return call("adaptive_avg_pool2d", T(n(), 4, 4), [2, 2], free="fpp -> fpp")


@case
def pool_to_one_place(n: Numbers) -> Call:
    b, c = n.several(2)
    return call("adaptive_avg_pool2d", T(b, c, 4, 4), [1, 1], free="ffpp -> ff11")


@case
def fractional_pool(n: Numbers) -> Call:
    b, c = n.several(2)
    samples = T(b, c, 2, fill="uniform")
    return call("fractional_max_pool2d", T(b, c, 5, 5), [2, 2], [2, 2], samples, free="ffpp ffp -> ffpp ffpp")


@case
def grid_sampler(n: Numbers) -> Call:
    b, c = n.several(2)
    sizes = T(b, c, 4, 3), T(b, 2, 5, 2, fill="small")
    return call("grid_sampler", *sizes, 0, 0, False, free="ffpp fppp -> ffpp")


@case
def grid_sampler_2d(n: Numbers) -> Call:
    b, c = n.several(2)
    sizes = T(b, c, 4, 3), T(b, 2, 5, 2, fill="small")
    return call("grid_sampler_2d", *sizes, 0, 0, False, free="ffpp fppp -> ffpp")


@case
def grid_sampler_3d(n: Numbers) -> Call:
    b, c = n.several(2)
    sizes = T(b, c, 4, 3, 2), T(b, 2, 5, 2, 3, fill="small")
    return call("grid_sampler_3d", *sizes, 0, 0, False, free="ffppp fpppp -> ffppp")


@case
def pixel_shuffle(n: Numbers) -> Call:
    b, c, h, w, r = *n.several(4), n(2, 3)
    return call("pixel_shuffle", T(b, c * r * r, h, w), r, free="fmpp -> ffpp")


@case
def pixel_shuffle_into_one(n: Numbers) -> Call:
    b, h, w, r = *n.several(3), n(2, 3)
    return call("pixel_shuffle", T(b, r * r, h, w), r, free="fppp -> f1pp")


@case
def pixel_unshuffle(n: Numbers) -> Call:
    b, c, h, w, r = *n.several(4), n(2, 3)
    return call("pixel_unshuffle", T(b, c, h * r, w * r), r, free="ffpp -> fmpp")


@case
def channel_shuffle(n: Numbers) -> Call:
    b, g, c, h = n.several(4)
    return call("channel_shuffle", T(b, g * c, h, 3), g, free="ffff -> ffff")


@case
def native_channel_shuffle(n: Numbers) -> Call:
    b, g, c, h = n.several(4)
    return call("native_channel_shuffle", T(b, g * c, h, 3), g, free="ffff -> ffff")


@case
def im2col(n: Numbers) -> Call:
    b, c = n.several(2)
    return call("im2col", T(b, c, 4, 5), [2, 3], [1, 1], [0, 0], [1, 1], free="ffpp -> fmp")


@case
def col2im(n: Numbers) -> Call:
    b, c = n.several(2)
    return call("col2im", T(b, c * 6, 9), [4, 5], [2, 3], [1, 1], [0, 0], [1, 1], free="fmp -> ffpp")
