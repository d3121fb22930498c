"""The batcher in front of real workers: everybody is told once, what is theirs, in time."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import msgspec
import numpy as np
import pytest
import uvloop

from tests.notorch.alike import differences
from tests.serving.questions import FILE, JSON, PARQUET, STREAM, ask, numbers_of, running, table_of, until, written
from vaekit.errors import ConfigError
from vaekit.serving.config import ServeConfig

QUICK = {"queries": ("score",)}
LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}


async def stopped(batcher, kept):
    """Its only worker, which has answered before, stands still until it is told to `go`."""
    for _ in range(3):
        assert (await batcher.ask(small(kept))).fault is None
    (worker,) = batcher.workers.values()
    os.kill(worker.pid, signal.SIGSTOP)
    return worker


def go(worker):
    os.kill(worker.pid, signal.SIGCONT)


def small(kept, **options):
    """A question about one row."""
    return ask(kept.name, "score", written(kept.rows.slice(0, 1), STREAM), STREAM, **options)


# -------------------------------------------------------------------------------------------------------- whose is what


@pytest.mark.parametrize("loop", LOOPS)
def test_under_fire_each_caller_gets_exactly_its_own_rows(zoo, loop):
    """Two models, all kinds of sizes, formats, queries, options, bad rows, cancels and deadlines, at once."""
    chance = random.Random(11)
    names, queries = ("flights", "visits"), ("score", "detect", "embed", "impute")
    options = {"score": {"seed": 1}, "detect": {"alpha": 0.2}, "embed": {}, "impute": {"samples": 4}}
    tables = {name: zoo[name].rows for name in names}
    whole = {
        (name, query): zoo[name].onnx.query(query, tables[name], **options[query])
        for name in names
        for query in ("score", "detect", "embed")
    }
    fates = Counter()

    def question():
        name, query = chance.choice(names), chance.choice(queries)
        start, rows = chance.randrange(150), chance.choice([1, 1, 1, 2, 7, 40])
        table = tables[name].slice(start, rows)
        media = chance.choice([JSON, STREAM, FILE, PARQUET])
        gives = chance.choice([JSON, STREAM]) if query == "score" else STREAM
        body = written(table, media)
        if bad := chance.random() < 0.05:
            body = body[: len(body) // 2]
        return (name, query, start, rows, table, bad), ask(name, query, body, media, gives, **options[query])

    def check(facts, one, told):
        name, query, start, rows, table, bad = facts
        zoo_model = zoo[name].onnx
        if bad:
            assert told.fault.status == 400
            fates["bad"] += 1
            return
        assert told.rows == rows
        assert told.query == query
        if one.gives == JSON:
            found = numbers_of(told)["score"].astype(float)
            assert np.allclose(found, whole[name, query].slice(start, rows)["score"].to_numpy(), rtol=1e-4, atol=1e-4)
        elif query == "impute":
            found = table_of(told)
            known = [name for name in found.column_names if not table[name].null_count]
            assert found.select(known).to_pylist() == table.select(known).to_pylist()
            assert all(not found[name].null_count for name in zoo_model.contract.names("model"))
        else:
            assert differences(table_of(told), whole[name, query].slice(start, rows), ties=0.02) == []
        fates[query] += 1

    async def caller(batcher, count):
        for _ in range(count):
            facts, one = question()
            fate = chance.random()
            if fate < 0.1:
                asked = asyncio.create_task(batcher.ask(one))
                await asyncio.sleep(chance.random() * 0.01)
                asked.cancel()
                try:
                    check(facts, one, await asked)
                except asyncio.CancelledError:
                    fates["cancelled"] += 1
                continue
            until = asyncio.get_running_loop().time() + chance.random() * 0.02 if fate < 0.2 else None
            told = await batcher.ask(one, until)
            if until is not None and told.fault is not None and told.fault.kind in ("deadline", "overloaded"):
                assert told.fault.status in (503, 504)
                fates["late"] += 1
                continue
            check(facts, one, told)

    async def story():
        records = []
        async with running(*(zoo[name] for name in names), workers=2, queries=queries, max_wait=60.0) as batcher:
            batcher.observers.append(records.append)
            async with asyncio.timeout(240):
                await asyncio.gather(*(caller(batcher, 12) for _ in range(24)))
            await batcher.drain()
            assert (batcher.queued, batcher.queued_bytes, batcher.running) == (0, 0, 0)
        assert max(len(record.numbers) for record in records) > 3  # they were merged

    LOOPS[loop](story())
    assert sum(fates.values()) == 24 * 12
    assert min(fates[kind] for kind in (*queries, "bad", "cancelled")) > 0


# --------------------------------------------------------------------------------------------------------------- time


def test_one_short_deadline_delays_no_neighbour(zoo):
    """Its batch runs, and it is told at once that its time has passed; the others are answered as if nothing was."""

    async def story():
        async with running(zoo["flights"], **QUICK) as batcher:
            worker = await stopped(batcher, zoo["flights"])
            now = asyncio.get_running_loop().time()
            asks = [batcher.ask(small(zoo["flights"]), now + 0.2 if index == 3 else None) for index in range(8)]
            tasks = [asyncio.create_task(one) for one in asks]
            told = await tasks[3]
            assert (told.fault.status, told.fault.kind) == (504, "deadline")
            assert not any(task.done() for index, task in enumerate(tasks) if index != 3)
            assert len(worker.batch.members) == 8
            go(worker)
            others = await asyncio.gather(*(task for index, task in enumerate(tasks) if index != 3))
            assert [one.fault for one in others] == [None] * 7

    asyncio.run(story())


def test_those_who_left_are_not_asked_about(zoo):
    """Cancelled or too late while they waited: the worker never sees them."""

    async def story():
        async with running(zoo["flights"], **QUICK) as batcher:
            records = []
            worker = await stopped(batcher, zoo["flights"])
            batcher.observers.append(records.append)
            first = asyncio.create_task(batcher.ask(small(zoo["flights"])))
            await until(lambda: worker.batch is not None)
            now = asyncio.get_running_loop().time()
            named = [msgspec.structs.replace(small(zoo["flights"]), number=index) for index in range(6)]
            deadlines = {1: now + 0.1, 4: now + 0.1}
            tasks = [asyncio.create_task(batcher.ask(one, deadlines.get(index))) for index, one in enumerate(named)]
            await until(lambda: batcher.queued == 6)
            tasks[2].cancel()
            assert (await tasks[1]).fault.kind == (await tasks[4]).fault.kind == "deadline"
            await until(lambda: batcher.queued == 3)
            go(worker)
            assert [(await tasks[index]).fault for index in (0, 3, 5)] == [None] * 3
            assert (await first).fault is None
            assert tasks[2].cancelled()
            assert records[-1].numbers == [0, 3, 5]

    asyncio.run(story())


def test_a_deadline_in_the_past_is_told_at_once(zoo):
    async def story():
        async with running(zoo["flights"], **QUICK) as batcher:
            told = await batcher.ask(small(zoo["flights"]), asyncio.get_running_loop().time() - 1.0)
            assert (told.fault.status, told.fault.kind) == (504, "deadline")
        async with running(zoo["flights"], **QUICK, timeout=0.5) as batcher:
            (worker,) = batcher.workers.values()
            os.kill(worker.pid, signal.SIGSTOP)
            assert (await batcher.ask(small(zoo["flights"]))).fault.kind == "deadline"  # nobody waits for ever
            go(worker)

    asyncio.run(story())


# ------------------------------------------------------------------------------------------------------------- overload


def test_a_full_queue_sheds_and_says_when_to_come_back(zoo):
    async def story():
        size = len(small(zoo["flights"]).body)
        async with running(zoo["flights"], **QUICK, max_queue=5, max_queue_bytes=1 << 20) as batcher:
            worker = await stopped(batcher, zoo["flights"])
            tasks = [asyncio.create_task(batcher.ask(small(zoo["flights"])))]
            await until(lambda: worker.batch is not None)
            tasks += [asyncio.create_task(batcher.ask(small(zoo["flights"]))) for _ in range(9)]
            await until(lambda: sum(task.done() for task in tasks) == 4)
            shed = [task.result() for task in tasks if task.done()]
            assert {(one.fault.status, one.fault.kind) for one in shed} == {(503, "queue_full")}
            assert all(one.fault.retry_after >= 1 for one in shed)
            assert (batcher.queued, batcher.queued_bytes) == (5, 5 * size)
            go(worker)
            assert Counter(one.fault is None for one in await asyncio.gather(*tasks)) == {True: 6, False: 4}
        async with running(zoo["flights"], **QUICK, max_queue_bytes=2 * size) as batcher:
            worker = await stopped(batcher, zoo["flights"])
            tasks = [asyncio.create_task(batcher.ask(small(zoo["flights"])))]
            await until(lambda: worker.batch is not None)
            tasks += [asyncio.create_task(batcher.ask(small(zoo["flights"]))) for _ in range(3)]
            assert (await tasks[-1]).fault.kind == "queue_full"
            go(worker)
            await asyncio.gather(*tasks)

    asyncio.run(story())


def test_who_would_wait_too_long_is_refused_at_once(zoo):
    """By the measured cost of what waits: an early deadline is refused first, and then everybody."""

    async def story():
        async with running(zoo["flights"], **QUICK, max_wait=5.0) as batcher:
            worker = await stopped(batcher, zoo["flights"])
            tasks = [asyncio.create_task(batcher.ask(small(zoo["flights"])))]
            await until(lambda: worker.batch is not None)
            tasks += [asyncio.create_task(batcher.ask(small(zoo["flights"]))) for _ in range(20)]
            await until(lambda: batcher.queued == 20)
            now = time.monotonic()
            wait = batcher.expected_wait(now)
            assert wait > 0.0
            cost = worker.batch.stream.cost
            cost.a, cost.b = 0.1, 0.0  # a row takes 0.1 s, the twenty that wait 2 s
            assert batcher.expected_wait(now) == pytest.approx(2.0, abs=0.5)
            told = await batcher.ask(small(zoo["flights"]), now + 1.0)
            assert (told.fault.status, told.fault.kind) == (503, "overloaded")
            assert told.fault.retry_after >= 2
            tasks.append(asyncio.create_task(batcher.ask(small(zoo["flights"]), now + 60.0)))
            await until(lambda: batcher.queued == 21)
            cost.a = 1.0
            told = await batcher.ask(small(zoo["flights"]))
            assert (told.fault.status, told.fault.kind) == (503, "queue_full")
            go(worker)
            assert all(one.fault is None for one in await asyncio.gather(*tasks))

    asyncio.run(story())


def test_a_busy_query_does_not_starve_another(zoo):
    """A queue of cheap questions that is never empty: the other one gets its share of the worker."""

    async def story():
        async with running(zoo["flights"], queries=("score", "embed"), max_batch_rows=1) as batcher:
            records = []
            worker = await stopped(batcher, zoo["flights"])
            batcher.observers.append(records.append)
            many = [asyncio.create_task(batcher.ask(small(zoo["flights"]))) for _ in range(40)]
            await until(lambda: batcher.queued == 39)
            one = ask("flights", "embed", written(zoo["flights"].rows.slice(0, 1), STREAM), STREAM)
            few = [asyncio.create_task(batcher.ask(one)) for _ in range(3)]
            await until(lambda: batcher.queued == 42)
            go(worker)
            await asyncio.gather(*many, *few)
            order = [record.query for record in records]
            assert max(place for place, query in enumerate(order) if query == "embed") < 20

    asyncio.run(story())


# ----------------------------------------------------------------------------------------------------------------- ends


def test_draining_loses_nothing(zoo):
    async def story():
        async with running(zoo["flights"], **QUICK, max_batch_rows=4) as batcher:
            worker = await stopped(batcher, zoo["flights"])
            tasks = [asyncio.create_task(batcher.ask(small(zoo["flights"]))) for _ in range(30)]
            await until(lambda: batcher.queued + batcher.running == 30)
            drained = asyncio.create_task(batcher.drain())
            await asyncio.sleep(0.05)
            assert not drained.done()
            assert not batcher.ready
            told = await batcher.ask(small(zoo["flights"]))
            assert (told.fault.status, told.fault.kind) == (503, "draining")
            go(worker)
            await drained
            assert all(task.done() for task in tasks)
            assert [task.result().fault for task in tasks] == [None] * 30

    asyncio.run(story())


def test_stopping_tells_everybody(zoo):
    async def story():
        async with running(zoo["flights"], **QUICK) as batcher:
            worker = await stopped(batcher, zoo["flights"])
            tasks = [asyncio.create_task(batcher.ask(small(zoo["flights"])))]
            await until(lambda: worker.batch is not None)
            tasks += [asyncio.create_task(batcher.ask(small(zoo["flights"]))) for _ in range(3)]
            await until(lambda: batcher.queued == 3)
            await batcher.stop()
            told = await asyncio.gather(*tasks)
            assert {(one.fault.status, one.fault.kind) for one in told} == {(503, "draining")}

    asyncio.run(story())


def test_text_that_no_message_can_hold_is_refused(zoo):
    """It must not get as far as a batch, which would fail with all its members."""

    async def story():
        async with running(zoo["flights"], **QUICK) as batcher:
            told = await batcher.ask(small(zoo["flights"], seed="\ud800"))
            assert (told.fault.status, told.fault.kind) == (400, "bad_body")
            assert (await batcher.ask(small(zoo["flights"]))).fault is None

    asyncio.run(story())


def test_an_observer_that_fails_costs_nobody(zoo):
    async def story():
        async with running(zoo["flights"], **QUICK) as batcher:
            records = []

            def faulty(record):
                raise RuntimeError("a defect")

            batcher.observers += [faulty, records.append]
            for _ in range(2):
                assert (await batcher.ask(small(zoo["flights"]))).fault is None
            assert len(records) == 2
            assert [record.worker for record in records] == [1, 1]

    asyncio.run(story())


def test_records_tell_why_batches_were_cut(zoo):
    async def story():
        async with running(zoo["flights"], **QUICK, max_batch_rows=8) as batcher:
            records = []
            worker = await stopped(batcher, zoo["flights"])
            batcher.observers.append(records.append)
            tasks = [asyncio.create_task(batcher.ask(small(zoo["flights"])))]
            await until(lambda: worker.batch is not None)
            tasks += [asyncio.create_task(batcher.ask(small(zoo["flights"]))) for _ in range(11)]
            bad = msgspec.structs.replace(small(zoo["flights"]), body=b"nonsense")
            tasks.append(asyncio.create_task(batcher.ask(bad)))
            await until(lambda: batcher.queued == 12)
            go(worker)
            await asyncio.gather(*tasks)
            assert [len(record.numbers) for record in records] == [1, 8, 4]
            assert [record.reason for record in records] == ["idle", "full_rows", "idle"]
            assert records[2].kinds == ["", "", "", "bad_body"]
            assert [record.seen.rows for record in records] == [1, 8, 3]
            assert all(wait >= 0.0 for record in records for wait in record.waits)
            assert [record.number for record in records] == [4, 5, 6]

    asyncio.run(story())


# ---------------------------------------------------------------------------------------------------------------- facts


def test_facts_tell_what_a_model_reads_and_answers(zoo):
    async def story():
        async with running(zoo["flights"], zoo["digits"]) as batcher:
            return batcher.models

    models = asyncio.run(story())
    flights, digits = models["flights"], models["digits"]
    fields = {field.name: field for field in flights.fields}
    assert list(fields)[-2:] == ["origin", "hour"]  # conditions last
    assert (fields["distance"].type, fields["distance"].json, fields["distance"].width) == ("int32", "integer", 0)
    assert fields["origin"].levels == ("EWR", "JFK", "LGA")
    assert {field.name: (field.width, field.item) for field in digits.fields}["bits"] == (16, "int8")
    assert {one.name for one in flights.queries["sample"].arguments} == {"n"}
    assert not flights.queries["sample"].rows
    options = {one.name: one for one in flights.queries["impute"].options}
    assert set(options) == {"draws", "first", "interval", "samples", "seed"}
    assert (options["interval"].type, options["interval"].null, options["interval"].default) == ("number", True, None)
    assert options["samples"].doc.startswith("Importance samples")
    assert flights.queries["impute"].absent
    assert not flights.queries["score"].absent
    for name, model in models.items():
        for query, facts in model.queries.items():
            assert facts.columns, query
            assert facts.doc.endswith("."), query
        columns = [(column.name, column.type) for column in model.queries["score"].columns]
        assert columns == [(one.name, str(one.type)) for one in zoo[name].onnx.score(zoo[name].rows.slice(0, 1)).schema]
    embedding = digits.queries["embed"].columns[0]
    assert (embedding.width, embedding.item) == (4, "float")
    assert len(flights.version) == 12


def test_only_what_is_served_is_asked(zoo):
    async def story():
        async with running(zoo["flights"], **QUICK) as batcher:
            assert set(batcher.models["flights"].queries) == {"score"}
            embed = ask("flights", "embed", b"{}")
            other = ask("nothing", "score", b"{}")
            told = [(await batcher.ask(one)).fault for one in (embed, other)]
            assert [(one.status, one.kind) for one in told] == [(404, "no_such_query"), (404, "no_such_model")]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bundles": {}}, "at least one bundle"),
        ({"bundles": {"a b": "x"}}, "NAME=PATH"),
        ({"backend": "tensorflow"}, "auto, onnx, torch, litert"),
        ({"workers": 0}, "workers must be a whole number of at least 1"),
        ({"max_rows": 2.5}, "max_rows"),
        ({"threads": -1}, "threads"),
        ({"latency_target": 0.0}, "latency_target is a number of seconds above 0"),
        ({"stuck_after_query": {"score": -1.0}}, "stuck_after_query"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        ServeConfig(**{"bundles": {"m": "x"}, **options})


def test_torch_answers_where_it_is_asked_for(zoo):
    kept = zoo["flights"]

    async def story():
        async with running(kept, backend="torch", queries=("score",), threads=1) as batcher:
            assert batcher.models["flights"].backend == "torch"
            told = await batcher.ask(ask("flights", "score", written(kept.rows, STREAM), STREAM))
            assert differences(table_of(told), kept.torch.score(kept.rows)) == []

    asyncio.run(story())


def test_a_path_may_have_an_equals_sign_in_it(tmp_path):
    run = tmp_path / "lr=0.1"
    (run / "bundle").mkdir(parents=True)
    named = ServeConfig.named([f"old={run}", "new=runs/lr=0.2", tmp_path / "plain"])
    assert named == {"old": str(run), "new": "runs/lr=0.2", "plain": str(tmp_path / "plain")}
    assert ServeConfig.named([run / "bundle"]) == {"lr=0.1": str(run / "bundle")}
    with pytest.raises(ConfigError, match="NAME=PATH"):
        ServeConfig.of([run])


def test_the_front_is_small():
    """It has neither arrays nor a runtime: bodies are read in the workers."""
    heavy = ("numpy", "pyarrow", "onnxruntime", "scipy", "torch", "PIL")
    code = f"import sys, vaekit.serving.batching.batcher; print([name for name in {heavy} if name in sys.modules])"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
