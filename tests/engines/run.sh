#!/usr/bin/env bash
# Distributed engines, for real: `run.sh spark` or `run.sh ray` starts the engine on this machine, in an environment of its
# own that has the wheel and the engine but no torch, and holds its answers against those of one process.
#
#   tests/engines/test_spark.py, test_ray.py   read bundles and rows from $VAEKIT_FIXTURES
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/environment.sh

engine=${1:?which engine: spark or ray}
case $engine in
spark) java -version >/dev/null 2>&1 || { echo "error: Spark needs Java 17 or newer" >&2; exit 2; } ;;
ray) ;;
*) echo "error: unknown engine $engine; known: spark, ray" >&2; exit 2 ;;
esac
environment "$engine" ".[$engine]"
fixtures
cp tests/engines/test_"$engine".py "$work/"
cd "$work"
env -u PYTHONPATH VAEKIT_FIXTURES="$fixtures" PATH="$venv/bin:$PATH" \
    "$venv/bin/python" -m pytest -c /dev/null --rootdir "$work" -p no:cacheprovider -q test_"$engine".py
