"""`make_models.py FOLDER`: small classic models as OpenVINO's files, by a Python that has openvino.

FOLDER/sum/1 adds 1 to ten numbers, FOLDER/sum/2 adds 2; FOLDER/pair/1 and /2 take batches of two
tensors of three, and give their sum and their product, the second version the product doubled.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op


def _constant(value: float) -> Any:
    return op.constant(np.array([value], np.float32))


def added(number: float) -> Any:
    numbers = op.parameter([1, 10], ov.Type.f32, name="b")
    result = op.add(numbers, _constant(number))
    return _model([result], ["a"], [numbers])


def paired(factor: float) -> Any:
    shape = ov.PartialShape([-1, 3])
    left, right = (op.parameter(shape, ov.Type.f32, name=name) for name in ("left", "right"))
    product = op.multiply(op.multiply(left, right), _constant(factor))
    return _model([op.add(left, right), product], ["sum", "product"], [left, right])


def _model(results: list[Any], names: list[str], inputs: list[Any]) -> Any:
    model = ov.Model(results, inputs)
    for port, name in zip(model.outputs, names, strict=True):
        port.get_tensor().set_names({name})
    for port, value in zip(model.inputs, inputs, strict=True):
        port.get_tensor().set_names({value.get_friendly_name()})
    return model


def main(folder: Path) -> None:
    models = {"sum": (added(1), added(2)), "pair": (paired(1), paired(2))}
    for name, versions in models.items():
        for number, model in enumerate(versions, 1):
            place = folder / name / str(number)
            place.mkdir(parents=True)
            ov.save_model(model, place / "model.xml", compress_to_fp16=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
