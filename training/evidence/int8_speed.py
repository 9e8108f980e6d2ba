"""Whether int8 made a file slower on the machine that published it, in words. Knows the facts, measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_store.manifest import INT8

# Medians of a few dozen runs differ by less from one another.
SLOWER_FROM = 1.1


def slower_than_float32(facts: Mapping[str, Any]) -> str:
    """Say for which batches the int8 file took longer, and what to do; empty where it took about as long or less.

    Args:
        facts: what the manifest says of the quantisation: for each format `microseconds` by the rows of a batch.
    """
    before, after = facts["float32"]["microseconds"], facts[INT8]["microseconds"]
    ratios = {rows: after[rows] / max(time, 1e-9) for rows, time in before.items()}
    slower = [f"{ratio:.2g} times as long for {_rows(rows)}" for rows, ratio in ratios.items() if ratio > SLOWER_FROM]
    if not slower:
        return ""
    return (
        f"int8 is slower than float32 on this machine: it takes {', '.join(slower)}; publish float32 (quantize=none), "
        "unless the file's size counts, or it will serve on a processor that multiplies int8 faster (AVX-512 VNNI, AMX)"
    )


def _rows(count: str) -> str:
    return f"{count} row{'' if count == '1' else 's'}"
