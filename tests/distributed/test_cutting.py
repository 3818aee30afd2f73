"""A graph cut into parts gives what it gave, and holds every tensor once."""

from __future__ import annotations

import copy

import pytest
import tasks
import torch

from fxcompress.distributed.cutting import cut


@pytest.mark.parametrize("captured", [tasks.captured, tasks.captured_words], ids=["images", "words"])
def test_the_parts_one_after_the_other_give_what_the_whole_gives(captured):
    module = captured().module
    made = cut(module)
    x = tasks.rows_for(captured())[0][0]
    assert torch.equal(made(x), module(x))
    assert {id(one) for one in made.parameters()} == {id(one) for one in module.parameters()}
    assert sum(1 for _ in made.parameters()) == len({id(one) for one in module.parameters()})


def test_a_part_ends_behind_each_block_and_what_is_shared_stays_outside():
    made = cut(tasks.captured_words().module)
    names = {name.split(".")[0] for name, _ in made.named_parameters()}
    assert names == {"embedding", "part_0", "part_1", "part_2"}
    for number in range(3):
        held = made.get_submodule(f"part_{number}.held")
        assert {name.rpartition(".")[0].rpartition(".")[0] for name, _ in held.named_parameters()} == {
            f"blocks.{number}"
        }


def test_the_parts_follow_train_and_eval():
    captured = tasks.captured()
    made, whole = cut(copy.deepcopy(captured.module)).train(), copy.deepcopy(captured.module).train()
    x = tasks.images()[0]
    torch.testing.assert_close(made(x), whole(x), rtol=0, atol=0)
    assert not torch.equal(made.eval()(x), made.train()(x))
