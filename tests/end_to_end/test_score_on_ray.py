"""`ovenbird score --ray local`: two processes of a real Ray, whose answers are those of one process without it.

Ray listens on every address of its machine, so it runs in a network of its own that has nothing but the loopback.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_models
from system_parts import require_own_network, require_ray

pytestmark = pytest.mark.system


def test_two_processes_give_what_one_gives_and_name_a_bad_row(tmp_path: Path) -> None:
    ovenbird, network = require_ray(), require_own_network()
    store, source = tmp_path / "store", tmp_path / "in"
    tiny_models.publish_affine(store)
    source.mkdir()
    vectors = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32).tolist()
    for part in range(2):
        ids = np.arange(5000) + part * 5000
        pq.write_table(pa.table({"id": ids, "x": vectors}), source / f"{part}.parquet", row_group_size=700)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"x": [1, 2, 3]}\n{"x": [1]}\n')
    ray = ["--ray", "local", "--workers", "2"]

    def score(path: Path, name: str, *options: str, within: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        command = [ovenbird, "score", "double", "--store", store, "--in", path, "--out", tmp_path / name, *options]
        return subprocess.run([*within, *map(str, command)], capture_output=True, text=True, timeout=240)

    alone = score(source, "alone.parquet", "--part-rows", "600")
    together = score(source, "together.parquet", "--part-rows", "600", *ray, within=network)
    refused = score(bad, "bad.csv", *ray, within=network)

    assert alone.returncode == 0, alone.stderr
    assert together.returncode == 0, together.stderr
    assert pq.read_table(tmp_path / "together.parquet").equals(pq.read_table(tmp_path / "alone.parquet"))
    assert json.loads((tmp_path / "together.parquet.score.json").read_text())["done"]["rows"] == 10_000
    assert refused.returncode == 1
    assert f"Error: {bad} row 2: column 'x'" in refused.stderr.splitlines()[-1]
