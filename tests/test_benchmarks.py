"""Lines of the scoreboard that run in cases, each in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.cases import InCases, run_case, together
from benchmarks.registry import LINES, Outcome, Settings, load_line


def line(ran: list[str]) -> InCases:
    def case(name, settings):
        ran.append(name)
        return {"figure": len(name) + settings.seed}

    def gather(found, settings):
        return Outcome({name: one["figure"] for name, one in found.items()}, {}, {}, met=True)

    return SimpleNamespace(cases=lambda settings: ("one", "three"), case=case, gather=gather)


def test_cases_that_were_kept_are_taken_and_the_others_run(tmp_path):
    ran: list[str] = []
    settings = Settings(quick=True, seed=2, data=Path(), kept=tmp_path / "kept")
    assert run_case(line(ran), "three", settings)["figure"] == 7
    assert json.loads((tmp_path / "kept" / "three.json").read_bytes())["figure"] == 7
    with pytest.raises(KeyError):
        run_case(line(ran), "two", settings)
    outcome = together(line(ran), settings)
    assert outcome.ours == {"one": 5, "three": 7}
    assert ran == ["three", "one"]


@pytest.mark.parametrize("name", ["COLLAPSE", "DOCTOR"])
def test_names_of_cases_are_names_of_files(name):
    found = load_line(name)
    assert isinstance(found, InCases)
    names = found.cases(Settings(quick=False, seed=0, data=Path()))
    assert len(set(names)) == len(names)
    assert all(one and not set(one) & set("/ \\:") for one in names)
    assert set(LINES) >= {name}
