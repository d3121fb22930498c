"""Real worker processes that die, stop, hang or never start; the front notices, answers, and replaces them."""

import asyncio
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvloop

from tests.notorch.alike import differences
from tests.serving.questions import PARQUET, PATIENCE, STREAM, ask, running, table_of, until, written
from vaekit.bundle.manifest import MANIFEST, Manifest, encoded
from vaekit.errors import BundleError, ServingError
from vaekit.files import Entry, sha256
from vaekit.serving.batching.batcher import Batcher
from vaekit.serving.batching.stored import Stored
from vaekit.serving.config import ServeConfig

QUICK = {"queries": ("score",)}  # starts fastest
LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}


def scores(kept, start=0, rows=3):
    """An ask for scores, and what the model says."""
    table = kept.rows.slice(start, rows)
    return ask(kept.name, "score", written(table, STREAM), STREAM), kept.onnx.score(table)


def only(batcher):
    """The worker that is ready."""
    (worker,) = batcher.workers.values()
    return worker


async def answered(batcher, kept):
    """A question is answered as the model answers it."""
    question, wanted = scores(kept)
    assert differences(table_of(await batcher.ask(question)), wanted) == []


def alive(pid):
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("loop", LOOPS)
def test_a_killed_worker_is_replaced_and_its_requests_fail_at_once(zoo, loop):
    async def story():
        async with running(zoo["flights"], **QUICK) as batcher:
            events = []
            batcher.watchers.append(events.append)
            victim = only(batcher)
            os.kill(victim.pid, signal.SIGSTOP)  # holds the question until it is killed
            question, _ = scores(zoo["flights"])
            asked = asyncio.create_task(batcher.ask(question))
            await until(lambda: victim.batch is not None)
            waiting = asyncio.create_task(batcher.ask(question))
            await until(lambda: batcher.queued == 1)
            os.kill(victim.pid, signal.SIGKILL)
            told = await asked
            assert (told.fault.status, told.fault.kind) == (503, "worker_lost")
            assert told.fault.retry_after >= 1
            assert not batcher.ready
            meanwhile = await batcher.ask(question)
            assert (meanwhile.fault.status, meanwhile.fault.kind) == (503, "not_ready")
            assert meanwhile.fault.retry_after >= 1
            assert (await waiting).fault is None  # what waited is answered by the next one
            assert batcher.ready
            assert only(batcher).number == 2
            await answered(batcher, zoo["flights"])
            assert [one.kind for one in events] == ["lost", "started", "ready"]
            assert not alive(victim.pid)

    LOOPS[loop](story())


def test_a_stopped_worker_is_noticed_by_its_silence(zoo):
    async def story():
        async with running(zoo["flights"], **QUICK, heartbeat_timeout=1.0) as batcher:
            events = []
            batcher.watchers.append(events.append)
            victim = only(batcher)
            os.kill(victim.pid, signal.SIGSTOP)
            question, _ = scores(zoo["flights"])
            told = await batcher.ask(question)
            assert (told.fault.status, told.fault.kind) == (503, "worker_lost")
            assert "silent" in told.fault.message
            await until(lambda: batcher.ready)
            await answered(batcher, zoo["flights"])
            assert [one.kind for one in events][:2] == ["lost", "started"]
            await until(lambda: not alive(victim.pid))

    asyncio.run(story())


def test_a_long_computation_is_no_silence_but_has_an_end(zoo):
    """The worker beats while it computes; only after the time for a query is it taken for stuck."""

    async def story():
        limits = QUICK | {"heartbeat_timeout": 2.0, "stuck_after": PATIENCE, "stuck_after_query": {"score": 4.0}}
        async with running(zoo["flights"], **limits, max_samples=200_000) as batcher:
            events = []
            batcher.watchers.append(events.append)
            table = zoo["flights"].table.slice(0, 500)
            body = written(table, STREAM)
            start = time.monotonic()
            told = await batcher.ask(ask("flights", "score", body, STREAM, samples=200_000))
            assert (told.fault.status, told.fault.kind) == (503, "worker_stuck")
            assert time.monotonic() - start >= 4.0
            await until(lambda: batcher.ready)
            await answered(batcher, zoo["flights"])
            assert [one.kind for one in events] == ["stuck", "started", "ready"]

    asyncio.run(story())


def test_other_workers_go_on_while_one_is_replaced(zoo):
    async def story():
        async with running(zoo["flights"], **QUICK, workers=2) as batcher:
            await until(lambda: len(batcher.workers) == 2)
            victim = next(iter(batcher.workers.values()))
            os.kill(victim.pid, signal.SIGKILL)
            await until(lambda: victim.number not in batcher.workers)
            assert batcher.ready
            await answered(batcher, zoo["flights"])
            await until(lambda: len(batcher.workers) == 2)

    asyncio.run(story())


def test_a_crash_loop_is_slowed_down_and_ends_when_its_cause_does(zoo):
    async def story():
        async with running(zoo["flights"], **QUICK) as batcher:
            starts, deaths = [], []
            dying = True

            def watch(event):
                if event.kind == "started":
                    starts.append(time.monotonic())
                if event.kind == "ready" and dying:
                    os.kill(batcher.workers[event.worker].pid, signal.SIGKILL)
                if event.kind == "lost":
                    deaths.append(time.monotonic())

            batcher.watchers.append(watch)
            os.kill(only(batcher).pid, signal.SIGKILL)
            await until(lambda: len(starts) == 3)
            dying = False
            pauses = [start - death for start, death in zip(starts, deaths, strict=False)]
            assert pauses[1] > 0.4
            assert pauses[2] > 0.9
            await until(lambda: batcher.ready)
            await answered(batcher, zoo["flights"])

    asyncio.run(story())


def spoilt(stored):
    """A bundle in memory whose graphs cannot be run."""
    named = zip(stored.packed.files, stored.files, strict=True)
    return Stored(stored.packed, tuple(b"spoilt" if name.endswith(".onnx") else content for name, content in named))


def test_what_waits_is_told_when_no_worker_gets_ready(zoo):
    """The replacement cannot load its models: what the front holds was spoilt on purpose."""

    async def story():
        async with running(zoo["flights"], **QUICK) as batcher:
            pool, victim = batcher._pool, only(batcher)
            os.kill(victim.pid, signal.SIGSTOP)
            question, _ = scores(zoo["flights"])
            first = asyncio.create_task(batcher.ask(question))
            await until(lambda: victim.batch is not None)
            second = asyncio.create_task(batcher.ask(question))
            await until(lambda: batcher.queued == 1)
            good, pool.bundles = pool.bundles, [spoilt(one) for one in pool.bundles]
            os.kill(victim.pid, signal.SIGKILL)
            assert (await first).fault.kind == "worker_lost"
            told = await second
            assert (told.fault.status, told.fault.kind) == (503, "not_ready")
            assert batcher.queued == 0
            pool.bundles = good
            await until(lambda: batcher.ready)
            await answered(batcher, zoo["flights"])

    asyncio.run(story())


def test_a_bundle_that_is_damaged_while_it_is_served_harms_nothing(zoo, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(zoo["flights"].bundle, folder)

    async def story():
        config = ServeConfig(bundles={"flights": str(folder)}, start_timeout=PATIENCE, heartbeat_timeout=30.0, **QUICK)
        batcher = Batcher(config)
        await batcher.start()
        try:
            for file in folder.rglob("*"):
                if file.is_file():
                    file.write_bytes(b"damaged")
            os.kill(only(batcher).pid, signal.SIGKILL)
            await until(lambda: not batcher.ready)
            await until(lambda: batcher.ready)
            await answered(batcher, zoo["flights"])
            shutil.rmtree(folder)
            os.kill(only(batcher).pid, signal.SIGKILL)
            await until(lambda: batcher.workers and only(batcher).number == 3)
            await answered(batcher, zoo["flights"])
        finally:
            await batcher.stop()

    asyncio.run(story())


def start(folder, **options):
    async def story():
        batcher = Batcher(ServeConfig(bundles={"m": str(folder)}, **options))
        try:
            await batcher.start()
        finally:
            await batcher.stop()

    asyncio.run(story())


def test_a_damaged_bundle_is_not_served(zoo, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(zoo["flights"].bundle, folder)
    graph = folder / "graphs" / "encode.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\x00")
    with pytest.raises(BundleError, match="altered"):
        start(folder)


def test_a_sealed_bundle_that_no_runtime_can_run_is_refused_by_the_worker(zoo, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(zoo["flights"].bundle, folder)
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    (folder / "graphs" / "encode.onnx").write_bytes(b"no graph")
    manifest.files["graphs/encode.onnx"] = Entry(sha256(b"no graph"), 8)
    (folder / MANIFEST).write_bytes(encoded(manifest.sealed()))
    with pytest.raises(BundleError, match="encode"):
        start(folder, start_timeout=PATIENCE)


def test_a_worker_that_is_never_ready_is_given_up(zoo):
    with pytest.raises(ServingError, match=r"not ready within 0\.05 s"):
        start(zoo["flights"].bundle, start_timeout=0.05)


def test_workers_end_when_the_front_is_killed(zoo):
    """Not even a worker that computes stays behind."""
    script = f"""
import asyncio, sys
from tests.serving.questions import ask, running, STREAM, written
from tests.support import Zoo
from pathlib import Path
async def story():
    kept = Zoo(Path({str(zoo["flights"].folder.parent)!r}))["flights"]
    async with running(kept, queries=('score',), workers=2, max_samples=200_000) as batcher:
        while len(batcher.workers) < 2:
            await asyncio.sleep(0.01)
        body = written(kept.table.slice(0, 500), STREAM)
        heavy = asyncio.create_task(batcher.ask(ask("flights", "score", body, STREAM, samples=200_000)))
        while not any(worker.batch for worker in batcher.workers.values()):
            await asyncio.sleep(0.01)
        print(*[worker.pid for worker in batcher.workers.values()], flush=True)
        await heavy
asyncio.run(story())
"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    front = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=env)
    pids = [int(pid) for pid in front.stdout.readline().split()]
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    front.kill()
    front.wait()
    front.stdout.close()
    end = time.monotonic() + PATIENCE
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_body_that_unfolds_beyond_all_memory_is_refused(zoo):
    """A Parquet file of some kilobytes that holds ten gigabytes of text."""
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10_000, np.int32)), pa.array(["x" * 1_000_000]))
    sink = io.BytesIO()
    pq.write_table(pa.table({"origin": text}), sink, store_schema=False)
    assert len(sink.getvalue()) < 100_000

    async def story():
        async with running(zoo["flights"], **QUICK, max_memory=1 << 30) as batcher:
            pid = only(batcher).pid
            told = await batcher.ask(ask("flights", "score", sink.getvalue(), PARQUET))
            assert (told.fault.status, told.fault.kind) == (413, "too_large")
            await answered(batcher, zoo["flights"])
            assert only(batcher).pid == pid

    asyncio.run(story())


def test_signals_to_the_group_leave_workers_to_the_front(zoo):
    """A terminal sends them to all processes; the front is to drain first."""

    async def story():
        async with running(zoo["flights"], **QUICK) as batcher:
            pid = only(batcher).pid
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(pid, number)
            await answered(batcher, zoo["flights"])
            assert only(batcher).pid == pid
        await until(lambda: not alive(pid))

    asyncio.run(story())
