"""Rows that stream from disk: every row once an epoch, in an order that the seed gives, through a bounded buffer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import vaekit as vk
from vaekit.arrays import Block
from vaekit.fields.pixels import png
from vaekit.fields.sources import open_source
from vaekit.training import TrainConfig, parting, store
from vaekit.training.gathering import gather
from vaekit.training.parting import Parting
from vaekit.training.record import data_record
from vaekit.training.store import Store, stored, write
from vaekit.training.streamed import Streamed

ROWS = 3_000
FIT = {"epochs": 7, "width": 8, "depth": 1, "latent": 2, "batch_size": 64, "learning_rate": 1e-2, "mask": 0.0}
FIT |= {"choose": False, "progress": False, "graphs": False, "report": False}


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """A cache of one's own, and chunks of a few hundred rows."""
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "CHUNK", 4_000)


def blocks(rows: int = ROWS):
    for start in range(0, rows, 700):
        numbers = np.arange(start, min(rows, start + 700))
        values = np.stack([numbers, -numbers], 1).astype(np.float32)
        yield {"number.gaussian": Block(values, np.ones(values.shape, bool), half=values * 0.5)}


def flow(folder, size=400, rows=ROWS) -> Streamed:
    folder.mkdir()
    write(folder, blocks(rows), rows)
    made = Streamed(Store(folder), torch.device("cpu"), 1)
    made.size = size
    return made


def epoch(rows: Streamed, number=0, first=0, batch=64) -> list[np.ndarray]:
    taken = (rows.take(part)["number.gaussian"] for part in rows.epoch(5, number, batch, first))
    return [block.values[:, 0].long().numpy() for block in taken if torch.equal(block.half, block.values * 0.5)]


def table(rows=ROWS) -> pa.Table:
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    where = pa.array(rng.choice(["a", "b", "c"], rows)).dictionary_encode()
    return pa.table({"x": x, "y": x + 0.1 * rng.normal(size=rows), "where": where, "who": np.arange(rows) // 7})


def test_an_epoch_has_every_row_once_in_an_order_of_its_own(tmp_path):
    rows = flow(tmp_path / "store")
    one, again, other = epoch(rows), epoch(rows), epoch(rows, 1)
    assert [len(part) for part in one] == [64] * 46 + [56]
    assert sorted(np.concatenate(one)) == list(range(ROWS))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(np.concatenate(one), np.concatenate(other))
    assert np.abs(np.corrcoef(np.arange(ROWS), np.concatenate(one))[0, 1]) < 0.1  # sorted data is mixed


@pytest.mark.parametrize("first", [1, 6, 7, 25, 46, 47])
def test_an_epoch_goes_on_in_the_middle_without_what_came_before(tmp_path, first):
    rows = flow(tmp_path / "store")
    whole, rest = epoch(rows), epoch(rows, first=first)
    assert len(rest) == len(whole) - first
    assert all(np.array_equal(a, b) for a, b in zip(whole[first:], rest, strict=True))


@pytest.mark.parametrize("batch", [1000, 5000])
def test_batches_larger_than_the_buffer_are_whole(tmp_path, batch):
    parts = epoch(flow(tmp_path / "store"), batch=batch)
    assert sorted(np.concatenate(parts)) == list(range(ROWS))
    assert len(parts[0]) == min(batch, ROWS)


def test_no_more_rows_are_held_than_the_buffer_and_a_batch(tmp_path):
    rows = flow(tmp_path / "store", size=300)
    held = [len(rows.blocks["number.gaussian"]) for _ in rows.epoch(5, 0, 64)]
    assert 300 <= max(held) <= 300 + max(size for _, _, size in rows.store.chunks) + 64


def test_rows_are_encoded_once_and_the_store_that_nobody_uses_goes_first(tmp_path, monkeypatch):
    made = []

    def encode():
        made.append(1)
        return blocks()

    first = stored("a", encode, ROWS, 26)
    stored("a", encode, ROWS, 26)
    assert len(made) == 1
    stored("b", encode, ROWS, 26)
    assert len(made) == 2
    there = lambda: sorted(path.name for path in store.cache_folder().iterdir() if path.is_dir())  # noqa: E731
    assert len(there()) == 2
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: dataclasses.make_dataclass("Usage", ["free"])(0))
    stored("c", encode, ROWS, 26)
    assert len(there()) == 2  # b is gone; a is in use
    assert first.folder.name in there()
    assert sorted(first.read(first.chunks)["number.gaussian"].values[:, 0]) == list(range(ROWS))


def test_a_store_that_was_being_written_when_its_process_died_is_made_again(tmp_path):
    first = stored("a", blocks, ROWS, 26)
    half = first.folder.with_name(f".{first.folder.name}.xyz")
    first.folder.rename(half)
    first.close()
    (half / "0000").write_bytes(b"half")
    again = stored("a", blocks, ROWS, 26)
    assert sorted(again.read(again.chunks)["number.gaussian"].values[:, 0]) == list(range(ROWS))
    assert not half.exists()


def test_rows_are_encoded_anew_by_another_release_and_where_files_may_have_changed(tmp_path, monkeypatch):
    def folder(rows):
        contract = vk.Contract.infer(rows).replace("x", role="model")
        halves = open_source([rows.slice(0, 20), rows.slice(20)])
        gathered = gather(halves, contract, TrainConfig(), 0)
        return gathered.encoded(gathered.fit(contract), torch.device("cpu")).store.folder

    paths = [str(tmp_path / f"{number}.png") for number in range(40)]
    for number, path in enumerate(paths):
        Path(path).write_bytes(png(np.full((4, 4, 1), number, np.uint8)))
    numbers, images = pa.table({"x": np.arange(40.0)}), pa.table({"x": paths})
    first = folder(numbers)
    assert folder(numbers) == first
    assert folder(images) != folder(images)
    monkeypatch.setattr("vaekit.training.gathering.__version__", "9.9")
    assert folder(numbers) != first


def test_a_store_that_was_being_deleted_when_its_process_died_is_made_again(tmp_path):
    first = stored("a", blocks, ROWS, 26)
    first.close()
    (first.folder / "store.json").unlink()
    assert stored("a", blocks, ROWS, 26).rows == ROWS


@pytest.mark.parametrize("role", ["model", "entity", "time"])
def test_parts_do_not_depend_on_how_rows_are_cut_and_keep_together_what_belongs_together(role, monkeypatch):
    monkeypatch.setattr(parting, "_TOGETHER", 256)
    rows = table()
    contract = vk.Contract.infer(rows).replace("who", kind="number", role="model")
    contract = contract.replace("who", role=role) if role != "model" else contract
    made = Parting.of(contract, 0.1, 0.2, 3, rows)
    whole = made.parts(rows, 0)
    cut = np.concatenate([made.parts(rows.slice(at, 37), at) for at in range(0, ROWS, 37)])
    assert np.array_equal(whole, cut)
    shares = np.bincount(whole, minlength=3) / ROWS
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.05)
    who = rows["who"].to_numpy()
    if role != "model":
        assert len(set(zip(who, whole, strict=True))) == len(set(who))
    if role == "time":
        assert who[whole == 0].max() < who[whole == 1].min() <= who[whole == 1].max() < who[whole == 2].min()
    assert not np.array_equal(whole, Parting.of(contract, 0.1, 0.2, 4, rows).parts(rows, 0)) or role == "time"


def test_rows_are_the_same_however_they_are_read(tmp_path):
    rows = table()
    files = open_source([rows.slice(0, 1_400), rows.slice(1_400)])
    assert data_record(files) == data_record(rows)
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=500)
    assert data_record(open_source(tmp_path / "rows.parquet")) == data_record(rows)


def test_a_fit_that_streams_learns_what_one_in_memory_learns(tmp_path):
    rng = np.random.default_rng(0)
    common = rng.normal(size=2 * ROWS)
    rows = pa.table({f"x{index}": common + 0.5 * rng.normal(size=2 * ROWS) for index in range(4)})
    pq.write_table(rows.slice(0, ROWS), tmp_path / "rows.parquet", row_group_size=500)
    streamed, held = (vk.fit(tmp_path / "rows.parquet", stream=stream, seed=3, **FIT) for stream in (True, False))
    record, beside = streamed.bundle.run, held.bundle.run
    assert record["rows"]["streamed"]
    assert record["data"] == beside["data"]
    assert sum(record["rows"][name] for name in ("train", "valid", "calibration")) == ROWS
    ours, theirs = (model.score(rows.slice(ROWS))["score"].to_numpy().mean() for model in (streamed, held))
    assert ours == pytest.approx(theirs, abs=0.25)
    assert ours < held.evaluation["marginal_nats"] - 1.0
    options = FIT | {"epochs": 1}
    one, again = (vk.fit(tmp_path / "rows.parquet", stream=True, seed=3, **options) for _ in range(2))
    assert all(np.array_equal(again.bundle.weights[name], value) for name, value in one.bundle.weights.items())
