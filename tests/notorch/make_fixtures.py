"""Bundles, rows and answers of every model of the zoo, made where torch is: `make_fixtures.py FOLDER`.

One JSON file lists the questions, so that `test_answers.py` needs nothing of the tests but what lies beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq

from tests.support import CASES, MODELS, Zoo


def main(folder: Path) -> None:
    """Fill a folder with fixtures."""
    zoo, questions = Zoo(folder), []
    for name, spec in MODELS.items():
        kept = zoo[name]
        pq.write_table(kept.rows, kept.folder / "rows.parquet")
        for label, case in CASES.items():
            options = dict(case.options)
            for told in {"given", "set"} & options.keys():
                options[told] = getattr(spec, options[told])
            answer = f"{name}/answers/{label}.arrow"
            questions.append(
                {"model": name, "query": case.query, "options": options, "rows": case.rows, "answer": answer}
            )
    (folder / "questions.json").write_text(json.dumps(questions, indent=1, default=str))
    print(f"{len(questions)} questions about {len(MODELS)} models in {folder}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_fixtures.py FOLDER")
    main(Path(sys.argv[1]))
