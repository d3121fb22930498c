"""The batch host: queries over files of any size, resumable, and the same queries on distributed engines.

    from vaekit import batch

    batch.run("run", "score", "flights/", "scores/", keep=["flight"])

`vaekit.batch.spark` and `vaekit.batch.ray` ask the same on Spark and on Ray Data.
"""

from vaekit.batch.asking import Fault
from vaekit.batch.entry import run
from vaekit.batch.work import Progress, Summary

__all__ = ["Fault", "Progress", "Summary", "run"]
