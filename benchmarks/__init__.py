"""The scoreboard: one command per line, rivals in the same run, on the same split and seeds.

`python -m benchmarks` lists the lines. Nothing here is part of the distributed package.
"""
