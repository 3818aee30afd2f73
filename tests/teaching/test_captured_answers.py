"""What was captured is what the model gives; other inputs, other teachers and damaged files are refused."""

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from captures import captured, contents, images, manifest
from taught_nets import pictures

import fxcompress as fxc
from fxcompress.errors import ArtifactError, FxcompressError, InputError, StepFailed, UsageError
from fxcompress.teaching import CachedTeacher, LiveTeacher
from fxcompress.teaching.alone import alone_in

HERE = Path(__file__).parent


def one(pixels):
    return fxc.Inputs(pixels)


def test_memory_and_disk_give_what_the_model_gives(tmp_path):
    pixels, model = images(50), pictures()[0]
    stages = [captured(text, pixels) for text in ("capture-teacher", f"capture-teacher{{sink=disk to={tmp_path}/t}}")]
    assert [stage.changed for stage in stages] == [False, False]
    order = torch.randperm(50)
    with torch.no_grad():
        want = model(pixels[order])
    for teacher in (*(stage.details["teacher"] for stage in stages), CachedTeacher(tmp_path / "t")):
        assert teacher.names == ("output.logits", "output.features")
        found = teacher.answers(one(pixels[order]))
        torch.testing.assert_close(found["output.logits"], want["logits"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found["output.features"], want["features"], rtol=1e-5, atol=1e-6)
        assert not found["output.logits"].requires_grad
        assert len(teacher) == 50


def test_live_and_cached_answers_are_the_same_to_the_bit_in_the_batches_of_the_capture(tmp_path):
    pixels = images(24)
    taps = ("output|topk:3", "layers.*|pool", "again@1|cast:f16")
    text = f"capture-teacher{{sink=disk to={tmp_path}/t taps={','.join(taps)} temperature=2}}"
    cached = captured(text, pixels).details["teacher"]
    live = LiveTeacher(*pictures()[:1], taps, inputs=pictures()[1], temperature=2)
    assert live.names == cached.names
    for rows in pixels.split(8):
        here, there = live.answers(one(rows)), cached.answers(one(rows))
        assert all(torch.equal(here[name], there[name]) and here[name].dtype == there[name].dtype for name in here)


def test_a_live_teacher_is_a_copy_that_stays_as_it_is():
    model, inputs = pictures()
    captured_model = fxc.capture(model, inputs)
    teacher = LiveTeacher(captured_model, ["layers.0"])
    before = teacher.answers(one(inputs[0]))["layers.0"]
    with torch.no_grad():
        for parameter in captured_model.module.parameters():
            parameter.zero_()
    captured_model.module.train()
    assert torch.equal(teacher.answers(one(inputs[0]))["layers.0"], before)
    assert not before.requires_grad
    with pytest.raises(UsageError, match="has to be captured"):
        LiveTeacher(model)


def test_fewer_bits_are_stored_and_the_dtype_of_the_model_comes_back(tmp_path):
    pixels = images(20)
    exact = captured("capture-teacher{taps=stem}", pixels).details["teacher"].answers(one(pixels))["stem"]
    stage = captured(f"capture-teacher{{taps=stem dtype=f16 sink=disk to={tmp_path}/t}}", pixels)
    half = stage.details["teacher"].answers(one(pixels))["stem"]
    assert torch.equal(half, exact.half().float())
    assert stage.statistics["bytes"] == exact.numel() * 2
    assert stage.details["capture"]["bytes_a_sample"] == exact[0].numel() * 2


def test_identical_samples_are_kept_once():
    pixels = images(6).repeat(4, 1, 1, 1)
    stage = captured("capture-teacher", pixels, size=4)
    assert (stage.statistics["samples"], stage.statistics["answered"]) == (24, 6)
    found = stage.details["teacher"].answers(one(pixels))["output.logits"]
    with torch.no_grad():
        torch.testing.assert_close(found, pictures()[0](pixels)["logits"], rtol=1e-5, atol=1e-6)


def test_inputs_that_were_not_captured_are_refused():
    pixels = images(10)
    teacher = captured("capture-teacher", pixels).details["teacher"]
    other = pixels.clone()
    other[3, 0, 0, 0] += 1e-6
    with pytest.raises(InputError, match=r"did not see 1 sample of this batch of 10 \(at 3\).*10 samples in memory"):
        teacher.answers(one(other))
    for wrong in (pixels.double(), pixels.flatten(1)):
        with pytest.raises(InputError, match="did not see 10 samples"):
            teacher.answers(one(wrong))
    with pytest.raises(InputError, match="not what was captured"):
        teacher.answers(fxc.Inputs(pixels, pixels))


def test_a_student_on_smaller_inputs_gets_the_answers_to_the_originals():
    pixels = images(12)
    teacher = captured("capture-teacher", pixels).details["teacher"]
    data = fxc.TrainingData([((pixels,), None)], for_student=lambda image: image[..., ::2, ::2])
    ((given, _),) = data.batches
    assert data.seen_by_student(fxc.Inputs(*given)).args[0].shape == (12, 3, 3, 3)
    with torch.no_grad():
        want = pictures()[0](pixels)["logits"]
    torch.testing.assert_close(teacher.answers(fxc.Inputs(*given))["output.logits"], want, rtol=1e-5, atol=1e-6)


def test_inputs_without_a_row_for_each_sample_belong_to_all():
    class Scaled(torch.nn.Module):
        def forward(self, x, table, power=2):
            return (x @ table) ** power

    x, table = torch.randn(6, 4), torch.randn(4, 3)
    made = fxc.compress(
        Scaled().eval(), (x, table), "capture-teacher{data=calibration}", calibration=[(x[:4], table), (x[4:], table)]
    )
    teacher = made.stages[0].details["teacher"]
    torch.testing.assert_close(teacher.answers(fxc.Inputs(x[1:5], table))["output"], (x[1:5] @ table) ** 2)
    with pytest.raises(InputError, match="did not see"):
        teacher.answers(fxc.Inputs(x[1:5], table + 1))


class Rows(torch.nn.Module):
    """Tokens to vectors, in batches of any length."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(20, 4)

    def forward(self, words):
        return self.table(words)


def test_answers_of_different_lengths_lie_side_by_side(tmp_path):
    model, batches = Rows().eval(), [torch.randint(0, 20, (4, length)) for length in (3, 3, 5, 3)]
    sizes = {0: torch.export.Dim("rows", max=64), 1: torch.export.Dim("tokens", max=64)}
    program = torch.export.export(model, (batches[0],), dynamic_shapes=(sizes,), strict=False)
    text = f"capture-teacher{{data=calibration sink=disk to={tmp_path}/t}}"
    teacher = fxc.compress(program, (batches[0],), text, calibration=batches).stages[0].details["teacher"]
    for batch in batches:
        assert torch.equal(teacher.answers(one(batch))["output"], model(batch))
    assert manifest(tmp_path / "t").shards[0].segments == (8, 4, 4)


def test_a_value_without_a_row_for_each_sample_is_refused():
    model = torch.nn.LSTM(4, 5, batch_first=True).eval()
    x = torch.randn(6, 7, 4)
    with pytest.raises(StepFailed, match=r"'output\.1\.0' gives f32\[1, 6, 5\] for a batch of 6"):
        fxc.compress(model, (x,), "capture-teacher{data=calibration}", calibration=[x])


def test_the_cache_of_another_teacher_is_refused(tmp_path):
    pixels, folder = images(8), tmp_path / "t"
    captured(f"capture-teacher{{sink=disk to={folder}}}", pixels)
    model, inputs = pictures()
    same = fxc.capture(model, inputs).module
    assert len(CachedTeacher(folder, of=same)) == 8
    with torch.no_grad():
        same.stem.weight[0] += 1e-3
    with pytest.raises(UsageError, match="answers of another teacher"):
        CachedTeacher(folder, of=same)
    before = contents(folder)
    for text, why in (
        ("taps=stem", "the taps are"),
        ("temperature=2", "the temperature is"),
        ("dtype=f16", "the dtypes"),
    ):
        with pytest.raises(StepFailed, match=why):
            captured(f"capture-teacher{{sink=disk to={folder} {text}}}", pixels)
    model.stem.bias.data += 1
    data = fxc.TrainingData([((pixels,), None)])
    with pytest.raises(StepFailed, match="the teacher is"):
        fxc.compress(model, inputs, f"capture-teacher{{sink=disk to={folder}}}", train=data)
    assert contents(folder) == before


def test_a_capture_that_was_killed_goes_on_where_it_stopped(tmp_path):
    command = [sys.executable, str(HERE / "interrupted.py"), str(tmp_path / "killed")]
    killed = subprocess.run([*command, "27"], capture_output=True, text=True, timeout=300)
    assert killed.returncode == -9, killed.stderr
    with pytest.raises(ArtifactError, match="did not come to its end"):
        CachedTeacher(tmp_path / "killed")
    shards = contents(tmp_path / "killed")
    text = "capture-teacher{{sink=disk to={} shard=1 taps=layers.1}}"
    stage = captured(text.format(tmp_path / "killed"), images(4000), size=100)
    assert stage.statistics["samples"] == 4000
    assert 0 < stage.statistics["answered"] < 4000
    assert f"went on from {4000 - stage.statistics['answered']:,} samples" in stage.notes[0]
    captured(text.format(tmp_path / "whole"), images(4000), size=100)
    whole = contents(tmp_path / "whole")
    assert len(shards) > 0
    assert shards.items() <= whole.items()
    assert contents(tmp_path / "killed") == whole


def test_captures_again_ask_the_teacher_nothing(tmp_path):
    text = f"capture-teacher{{sink=disk to={tmp_path}/t}}"
    captured(text, images(16))
    before = contents(tmp_path / "t")
    assert captured(text, images(16)).statistics["answered"] == 0
    assert contents(tmp_path / "t") == before
    more = captured(text, torch.cat([images(16), images(8, seed=2)]))
    assert more.statistics["answered"] == 8
    assert len(more.details["teacher"]) == 24


@pytest.mark.parametrize("name", ["00000.safetensors", "index.safetensors", "manifest.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone", "text"])
def test_damage_is_found(tmp_path, name, harm):
    folder = tmp_path / "t"
    captured(f"capture-teacher{{sink=disk to={folder}}}", images(8))
    path = folder / name
    content = bytearray(path.read_bytes())
    if harm == "gone":
        path.unlink()
    else:
        content[len(content) // 2] ^= 0x80
        path.write_bytes({"flip": content, "cut": content[: len(content) // 2], "text": b"{}"}[harm])
    with pytest.raises(ArtifactError, match=name.replace(".", r"\.")):
        CachedTeacher(folder).answers(one(images(8)))


def test_many_read_one_folder(tmp_path):
    pixels = images(400)
    captured(f"capture-teacher{{sink=disk to={tmp_path}/t taps=layers.0 shard=1}}", pixels, size=50)
    teacher = CachedTeacher(tmp_path / "t")
    with torch.no_grad():
        want = LiveTeacher(*pictures()[:1], ["layers.0"], pictures()[1]).answers(one(pixels))["layers.0"]

    def read(seed):
        order = torch.randperm(400, generator=torch.Generator().manual_seed(seed))[:64]
        mine = pickle.loads(pickle.dumps(teacher)) if seed % 2 else CachedTeacher(tmp_path / "t")
        torch.testing.assert_close(mine.answers(one(pixels[order]))["layers.0"], want[order], rtol=1e-5, atol=1e-6)
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(12)))


def test_one_process_writes_at_a_time(tmp_path):
    with alone_in(tmp_path / "t"), pytest.raises(StepFailed, match="another process writes into"):
        captured(f"capture-teacher{{sink=disk to={tmp_path}/t}}", images(4))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(StepFailed, match="holds other files"):
        captured(f"capture-teacher{{sink=disk to={tmp_path}/other}}", images(4))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StepFailed, match="cannot"):
        captured(f"capture-teacher{{sink=disk to={tmp_path}/file}}", images(4))
    assert (tmp_path / "file").read_text() == "mine"


def test_the_manifest_says_what_was_captured(tmp_path):
    captured(f"capture-teacher{{sink=disk to={tmp_path}/t taps=output.logits|topk:3 temperature=4}}", images(9))
    facts = json.loads((tmp_path / "t" / "manifest.json").read_text())
    assert facts["format"] == "fxcompress-teacher/1"
    assert facts["taps"] == ["output.logits|topk:3"]
    assert (facts["temperature"], facts["samples"], facts["kept_samples"]) == (4.0, 9, 9)
    assert facts["kept"]["output.logits|topk:3.indices"] == {"dtype": "int64", "stored": "int16"}
    assert facts["bytes"] == (tmp_path / "t" / "00000.safetensors").stat().st_size


def test_a_full_disk_ends_the_capture_with_a_clear_error(tmp_path, monkeypatch):
    def full(*args):
        raise UsageError("cannot write: no space left on device")

    monkeypatch.setattr("fxcompress.teaching.streaming.write_whole", full)
    with pytest.raises(FxcompressError, match="no space left"):
        captured(f"capture-teacher{{sink=disk to={tmp_path}/t}}", images(8))


def test_following_moves_the_answers():
    teacher = captured("capture-teacher", images(4)).details["teacher"]
    teacher.follow(torch.device("meta"))
    assert teacher.answers(one(images(4)))["output.logits"].device.type == "meta"
