"""Queries: named functions from rows to rows, written once over the graph primitives and free of torch."""

from vaekit.queries.base import QUERIES, Query, query
from vaekit.queries.calibrate import calibrate
from vaekit.queries.denoise import denoise
from vaekit.queries.detect import detect
from vaekit.queries.edit import edit
from vaekit.queries.embed import embed
from vaekit.queries.impute import impute
from vaekit.queries.paths import interpolate, traverse
from vaekit.queries.reconstruct import reconstruct
from vaekit.queries.sample import sample
from vaekit.queries.score import score
from vaekit.queries.streaming import Piece, RowQuery, stream

__all__ = [
    "QUERIES",
    "Piece",
    "Query",
    "RowQuery",
    "calibrate",
    "denoise",
    "detect",
    "edit",
    "embed",
    "impute",
    "interpolate",
    "query",
    "reconstruct",
    "sample",
    "score",
    "stream",
    "traverse",
]
