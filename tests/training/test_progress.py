"""Progress: rate, time left and the terms of now; a bar on a terminal, lines now and then elsewhere."""

from __future__ import annotations

import os
import pty
import sys

import pytest

from vaekit.training import progress
from vaekit.training.progress import Progress


def metrics(step, stage="vae", **terms):
    valid = {"elbo": -4.5, "reconstruction": -3.25, "kl": 1.25, "latent": {"verdict": "ok"}}
    return {"stage": stage, "epoch": 0, "step": step, "train": {"loss": 5.0, **terms}, "valid": valid}


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def train(shown, clock, steps=100, seconds=1.0, validations=20):
    for step in range(1, steps + 1):
        clock[0] += seconds
        shown.step(step / steps, 50, 6.0)
        if step % (steps // validations) == 0:
            shown.validated(metrics(step, mmd=0.125))


def test_lines_come_now_and_then_with_rate_time_left_and_terms(clock, capsys):
    clock[0] += 50.0  # choosing likelihoods takes no part in the rate
    with Progress(True) as shown:
        shown.step(0.0, 0, 6.0)
        train(shown, clock)
    lines = capsys.readouterr().err.splitlines()
    assert 8 <= len(lines) <= 13  # not one for each of 20 validations
    text = next(line for line in lines if " 50 %" in line or " 45 %" in line)
    for told in (
        "vae",
        "loss    5.000",
        "valid: 4.500 nats/row (reconstruction 3.250, KL 1.25)",
        "mmd 0.125",
        "50 rows/s",
    ):
        assert told in text
    assert "50 s left" in text or "55 s left" in text


def test_a_long_run_says_something_every_minute(clock, capsys):
    with Progress(True) as shown:
        train(shown, clock, steps=10_000, seconds=0.5, validations=2)
    lines = capsys.readouterr().err.splitlines()
    assert 80 <= len(lines) <= 90
    assert "min left" in lines[0] or "h left" in lines[0]


def test_nothing_is_shown_where_nothing_is_asked_for(clock, capsys):
    with Progress(False) as shown:
        train(shown, clock)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "200")
        with Progress(True) as shown:
            shown.step(0.0, 50, 6.0)
            shown.step(0.25, 50, 6.0)
            shown.validated(metrics(10, stage="prior"))
            shown.step(0.5, 50, 6.0)
        terminal.flush()
    text = b""
    while True:
        try:
            text += os.read(master, 65_536)
        except OSError:
            break
    os.close(master)
    told = text.decode()
    for part in ("prior", "━", "rows/s", "loss 6.000", "KL 1.25"):
        assert part in told
