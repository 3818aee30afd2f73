"""Images that are rounded by their own ranges: the arithmetic, against float64, and what is independent of what."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcompress import kernels

assert kernels.images
ops = torch.ops.fxcompress
BACKENDS = ("native", "float")
BEHIND = ("none", None, 0.0, 0, "none", None, 0)
POSTS = {"none": lambda values: values, "relu": torch.relu, "silu": torch.nn.functional.silu}


def as_it_lies(image: torch.Tensor, layout: str) -> torch.Tensor:
    """The image in another order of memory: planes, channels last, or with gaps."""
    if layout == "gaps":
        return torch.cat([image, image], -1)[..., : image.shape[-1]]
    return image if layout == "planes" else image.movedim(1, -1).contiguous().movedim(-1, 1)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60, deadline=None)
@given(
    channels=st.sampled_from([1, 3, 4, 16, 20, 33, 64]),
    size=st.sampled_from([(1,), (5,), (40,), (1, 1), (4, 4), (7, 9), (17, 3)]),
    layout=st.sampled_from(["planes", "last", "gaps"]),
    kind=st.sampled_from(["both", "above", "below", "zeros", "tiny"]),
    seed=st.integers(0, 99),
)
def test_each_image_is_rounded_by_its_range_with_zero(backend, channels, size, layout, kind, seed):
    torch.manual_seed(seed)
    image = torch.randn(3, channels, *size) * torch.tensor([1e-3, 1.0, 50.0]).view(-1, *[1] * (len(size) + 1))
    image = {"above": image.abs(), "below": -image.abs(), "zeros": image * 0, "tiny": image * 1e-30}.get(kind, image)
    made, scales, zeros = ops.round_images(as_it_lies(image, layout), backend)
    assert (made.dtype, scales.dtype, zeros.dtype, made.shape) == (torch.uint8, torch.float32, torch.int32, image.shape)
    for one, have, scale, zero in zip(image.double(), made, scales.double(), zeros, strict=True):
        least, most = min(0.0, float(one.min())), max(0.0, float(one.max()))
        assert float(scale) == pytest.approx(max((most - least) / 255, 1.1754944e-38), rel=1e-6)
        assert abs(int(zero) + least / float(scale)) <= 0.5 + 1e-4
        # Half a step, and what a range that does not begin at a whole step is cut off by.
        assert float(((have.double() - int(zero)) * scale - one).abs().max()) <= 1.001 * float(scale)
        assert float(((have.double() - int(zero)) * scale - one).abs().mean()) <= 0.5 * float(scale)


def test_both_backends_and_the_operator_of_the_graph_round_alike():
    torch.manual_seed(0)
    for size in ((3, 20, 21), (64, 9, 9), (16, 50)):
        image = torch.randn(4, *size)
        one, other = (ops.round_images(image, backend) for backend in BACKENDS)
        scales, zeros = ops.choose_sample_range(image)
        for have, want in zip(one, other, strict=True):
            assert torch.equal(have, want)
        assert torch.equal(one[1], scales)
        assert torch.equal(one[2], zeros.int())


@st.composite
def geometries(draw, axes):
    numbers = st.lists(st.integers(1, 2), min_size=axes, max_size=axes)
    padding = draw(st.lists(st.integers(0, 2), min_size=axes, max_size=axes))
    groups, channels = draw(st.sampled_from([(1, 1), (1, 3), (1, 4), (1, 20), (2, 8), (4, 4), (2, 40)]))
    return (draw(numbers), padding, draw(numbers), groups), channels, groups * draw(st.sampled_from([1, 2, 8, 20]))


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60, deadline=None)
@given(
    problem=st.sampled_from([1, 2]).flatmap(geometries),
    posts=st.tuples(st.sampled_from(sorted(POSTS)), st.sampled_from(["none", "relu"])),
    kernel=st.sampled_from([1, 3]),
    biased=st.booleans(),
    added=st.sampled_from(["nothing", "floats", "bytes"]),
    layout=st.sampled_from(["planes", "last"]),
    seed=st.integers(0, 99),
)
def test_against_float64(backend, problem, posts, kernel, biased, added, layout, seed):
    torch.manual_seed(seed)
    geometry, channels, outputs = problem
    axes = len(geometry[0])
    weight = torch.randint(-127, 128, (outputs, channels // geometry[3], *[kernel] * axes), dtype=torch.int8)
    scales, bias = torch.rand(outputs) / 64 + 1e-4, torch.randn(outputs) if biased else None
    column = (-1, *[1] * (axes + 1))
    image = torch.randn(3, channels, *(9, 8)[:axes]) * torch.tensor([0.1, 1.0, 9.0]).view(column)
    rounded = ops.round_images(as_it_lies(image, layout), backend)
    floats = (rounded[0].double() - rounded[2].view(column)) * rounded[1].double().view(column)
    wide, bias64 = weight.double() * scales.double().view(column), None if bias is None else bias.double()
    convolve = torch.conv1d if axes == 1 else torch.conv2d
    plain = POSTS[posts[0]](convolve(floats, wide, bias64, *geometry))
    residual = {"nothing": None, "floats": torch.randn(plain.shape)}.get(added)
    shift = 0.0 if residual is None else residual.double()
    if added == "bytes":
        residual = torch.randint(0, 256, plain.shape, dtype=torch.uint8)
        shift = (residual.double() - 7) * 0.03
    want = POSTS[posts[1]](plain + shift)
    arguments = (*rounded, weight, scales, bias, *geometry, posts[0], residual, 0.03, 7, posts[1])
    made = ops.conv_dynamic(*arguments, None, 0, backend)
    largest = float(convolve(floats.abs(), wide.abs(), bias64, *geometry).abs().max()) + 1
    assert (made.dtype, made.shape) == (torch.float32, want.shape)
    assert float((made.double() - want).abs().max()) <= 1e-5 * largest
    output = max(float(want.abs().max()), 1e-3) / 100
    integers = ops.conv_dynamic(*arguments, output, 100, backend)
    slack = 0.51 + 1e-5 * largest / output
    assert float((integers.double() - (want / output + 100).clamp(0, 255)).abs().max()) <= slack


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("channels", [3, 64])
def test_threads_and_batch_mates_change_nothing(threads, batch, channels):
    """Not a bit: each image is what it is alone, in one thread."""
    torch.manual_seed(0)
    image = torch.randn(batch, channels, 19, 23) * torch.logspace(-3, 3, batch).view(-1, 1, 1, 1)
    layer = (torch.randint(-127, 128, (40, channels, 3, 3), dtype=torch.int8), torch.rand(40) / 100, torch.randn(40))
    geometry = ([2, 1], [1, 1], [1, 1], 1)

    def call(some):
        return ops.conv_dynamic(*ops.round_images(some, "native"), *layer, *geometry, *BEHIND, "native")

    alone, before = torch.cat([call(one[None]) for one in image]), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(call(image), alone)
    finally:
        torch.set_num_threads(before)


def test_no_images():
    weight, scales = torch.randint(-127, 128, (8, 4, 1, 1), dtype=torch.int8), torch.rand(8)
    rounded = ops.round_images(torch.randn(0, 4, 5, 5), "native")
    assert ops.conv_dynamic(*rounded, weight, scales, None, [1], [0], [1], 1, *BEHIND, "native").shape == (0, 8, 5, 5)


def test_the_operators_keep_the_rules_of_operators():
    tests = ("test_schema", "test_faketensor")
    weight = torch.randint(-127, 128, (8, 4, 3, 3), dtype=torch.int8)
    for backend in BACKENDS:
        for image, kernel in ((torch.randn(2, 4, 9, 8), weight), (torch.randn(2, 4, 9), weight[..., 0])):
            torch.library.opcheck(ops.round_images.default, (image, backend), test_utils=tests)
            rounded = ops.round_images(image, backend)
            arguments = (*rounded, kernel.contiguous(), torch.rand(8), None, [1], [0], [1], 1, *BEHIND, backend)
            torch.library.opcheck(ops.conv_dynamic.default, arguments, test_utils=tests)
    torch.library.opcheck(ops.choose_sample_range.default, (torch.randn(2, 3, 4),), test_utils=tests)
