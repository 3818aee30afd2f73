"""The runtimes' own quantizers, on the model in floats as PyTorch exports it to ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from latency import runtimes
from latency.contender import Contender, Ready
from latency.subjects import Inputs, Subject

ONNX = ("onnx", "onnxscript", "onnxruntime")
OPENVINO = ("onnx", "onnxscript", "openvino", "fxcompress_openvino")
NNCF = (*OPENVINO, "nncf")


def contenders() -> list[Contender]:
    """Return floats, dynamic and static integers of ONNX Runtime; floats and NNCF's integers of OpenVINO."""
    found = [
        Contender("ONNX Runtime fp32", lambda subject: in_onnx_runtime(subject.onnx), ONNX),
        Contender("ONNX Runtime dynamic int8 per channel", onnx_dynamic, ONNX, ("minilm",)),
        Contender("ONNX Runtime static QDQ per channel", onnx_static, ONNX),
    ]
    for precision in ("f32", "bf16"):
        found.append(Contender(f"OpenVINO {precision}", partial(in_floats, precision=precision), OPENVINO))
        found.append(Contender(f"NNCF PTQ -> OpenVINO {precision}", partial(nncf_ptq, precision=precision), NNCF))
        prepare = partial(nncf_weights, precision=precision)
        name = f"NNCF int8 weight-only -> OpenVINO {precision}"
        found.append(Contender(name, prepare, NNCF, ("minilm",), usual=precision == "f32"))
    return [replace(one, reads_onnx=True) for one in found]


def in_onnx_runtime(path: Path) -> Ready:
    session = runtimes.onnx_runtime(path)
    return lambda given: session


def onnx_dynamic(subject: Subject) -> Ready:
    from onnxruntime import quantization

    path = subject.folder / "dynamic.onnx"
    kind = quantization.QuantType.QInt8
    quantization.quantize_dynamic(preprocessed(subject), path, per_channel=True, weight_type=kind)
    return in_onnx_runtime(path)


def onnx_static(subject: Subject) -> Ready:
    from onnxruntime import quantization

    path = subject.folder / "static.onnx"
    kinds = quantization.QuantType
    # The attention mask reaches to the smallest float: in 8 bits, its sum with the scores is nothing but the mask.
    products = ["MatMul", "Gemm"] if subject.name == "minilm" else None
    quantization.quantize_static(
        preprocessed(subject), path, batches_of(subject), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=kinds.QUInt8, weight_type=kinds.QInt8, op_types_to_quantize=products,
    )  # fmt: skip
    return in_onnx_runtime(path)


def preprocessed(subject: Subject) -> Path:
    """Return the model as ONNX Runtime's quantizers want it: shapes known, nodes fused."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = subject.folder / "preprocessed.onnx"
    # Its inference of symbolic shapes knows less than what the file says already.
    quant_pre_process(subject.onnx, path, skip_symbolic_shape=True)
    return path


def batches_of(subject: Subject) -> Any:
    """Return the calibration data as a reader of ONNX Runtime."""
    from onnxruntime.quantization import CalibrationDataReader

    class Batches(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Inputs] = iter(subject.calibration)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.left, None)
            return None if batch is None else {name: value.numpy() for name, value in batch.items()}

    return Batches()


def in_floats(subject: Subject, precision: str) -> Ready:
    return partial(runtimes.openvino, converted(subject), precision)


def nncf_ptq(subject: Subject, precision: str) -> Ready:
    import nncf

    batches = [{name: value.numpy() for name, value in batch.items()} for batch in subject.calibration]
    kind = nncf.ModelType.TRANSFORMER if subject.name == "minilm" else None
    model = nncf.quantize(converted(subject), nncf.Dataset(batches), model_type=kind, subset_size=len(batches))
    return partial(runtimes.openvino, model, precision)


def nncf_weights(subject: Subject, precision: str) -> Ready:
    import nncf

    model = nncf.compress_weights(converted(subject), mode=nncf.CompressWeightsMode.INT8_SYM)
    return partial(runtimes.openvino, model, precision)


def converted(subject: Subject) -> Any:
    import openvino

    return openvino.convert_model(str(subject.onnx))
