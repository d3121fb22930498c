"""A job whose process is killed at any moment goes on, with no row lost and none twice."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.batch.folders import answers, prints, quarantine

ROWS = 30_000


def command(*words):
    line = [sys.executable, "-m", "vaekit.cli", "batch", *(str(word) for word in words)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def killed_after(process, out, parts, how):
    """Send a signal as soon as so many parts are there."""
    until = time.monotonic() + 120
    while len(list(out.glob("part-*.parquet"))) < parts and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(how)
    told = process.communicate(timeout=120)
    return process.returncode, *told


@pytest.fixture(scope="module")
def asked(zoo, tmp_path_factory):
    """A question about many rows, a few of them bad."""
    kept, path = zoo["cancer"], tmp_path_factory.mktemp("kill") / "rows.parquet"
    table = pa.concat_tables([kept.table] * (ROWS // kept.table.num_rows + 1)).slice(0, ROWS).combine_chunks()
    bad = np.arange(ROWS) % 7919 == 17
    at = table.column_names.index("radius")
    table = table.set_column(at, "radius", pa.array(np.where(bad, np.inf, table["radius"].to_numpy())))
    pq.write_table(table, path)
    return "score", kept.bundle, path, "--part-rows", 500, "--batch-rows", 256


def test_killed_again_and_again_the_folder_is_that_of_one_run(asked, tmp_path):
    out = tmp_path / "out"
    parts = 0
    for more in (1, 9, 14):
        code, *_ = killed_after(command(*asked, "--out", out), out, parts + more, signal.SIGKILL)
        assert code == -signal.SIGKILL
        parts = len(list(out.glob("part-*.parquet")))
        assert 0 < parts < ROWS // 500
    done = command(*asked, "--out", out)
    assert done.wait(timeout=120) == 0, done.communicate()
    assert command(*asked, "--out", tmp_path / "whole").wait(timeout=120) == 0
    assert prints(out) == prints(tmp_path / "whole")
    seen = answers(out)["row"].to_pylist() + [fault["row"] for fault in quarantine(out)]
    assert sorted(seen) == list(range(ROWS))
    assert len(quarantine(out)) == len(range(17, ROWS, 7919))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_job_cleanly(how, asked, tmp_path):
    out = tmp_path / "out"
    code, _, told = killed_after(command(*asked, "--out", out), out, 2, how)
    assert code == 128 + how
    assert "stopped after" in told
    assert "the same command goes on" in told
    assert not list(out.glob(".*"))
    assert command(*asked, "--out", out).wait(timeout=120) == 0
    assert sorted(answers(out)["row"].to_pylist() + [one["row"] for one in quarantine(out)]) == list(range(ROWS))
