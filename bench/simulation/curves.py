"""Run time against rows, recorded: the shortest run of each size, one thread, onnxruntime 1.31 on a server's processor.

The last curve was not measured: it has the shape of a GPU's, where rows cost little until they fill the device.
"""

from __future__ import annotations

from service.runtime.warmup import CostCurve

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def _curve(*microseconds: float) -> CostCurve:
    return CostCurve(tuple(zip(_SIZES, (each / 1e6 for each in microseconds), strict=True)))


CURVES = {
    "784-128-10": _curve(12, 12, 15, 22, 37, 67, 124, 241, 472, 935, 1865),
    "784-1024-1024-10": _curve(99, 103, 145, 282, 566, 1126, 2248, 4530, 9188, 18644, 37857),
    "LSTM(64), 200 tokens": _curve(254, 376, 710, 1410, 2818, 5990, 13391, 30275, 60464, 119459, 250913),
    "like a GPU": _curve(150, 150, 151, 152, 154, 158, 166, 182, 220, 320, 540),
}
