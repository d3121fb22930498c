#!/usr/bin/env bash
# Large engines, for real: `run.sh spark`, `run.sh ray` or `run.sh mlflow` starts the engine on this machine, in an
# environment of its own that has the wheel and the engine but no torch, and holds it against what one process says.
#
#   tests/engines/test_*.py   read bundles and rows from $VAEKIT_FIXTURES
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/environment.sh

engine=${1:?which engine: spark, ray or mlflow}
case $engine in
spark) java -version >/dev/null 2>&1 || { echo "error: Spark needs Java 17 or newer" >&2; exit 2; } ;;
ray | mlflow) ;;
*) echo "error: unknown engine $engine; known: spark, ray, mlflow" >&2; exit 2 ;;
esac
environment "$engine" ".[${engine/mlflow/track}]"
fixtures
cp tests/engines/test_"$engine".py "$work/"
cd "$work"
env -u PYTHONPATH VAEKIT_FIXTURES="$fixtures" PATH="$venv/bin:$PATH" \
    "$venv/bin/python" -m pytest -c /dev/null --rootdir "$work" -p no:cacheprovider -q test_"$engine".py
