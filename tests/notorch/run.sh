#!/usr/bin/env bash
# Proof that bundles run without torch: bundles and answers are made in .venv (which has torch); a second environment gets
# the wheel with its base dependencies only, and has to give the same answers there.
#
#   tests/notorch/make_fixtures.py DIR     run with torch: writes bundles, rows and expected answers to DIR
#   tests/notorch/test_answers.py          run without torch: reads them from $VAEKIT_FIXTURES
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${VAEKIT_TORCH_PYTHON:-$PWD/.venv/bin/python}
venv=$PWD/.venv-notorch
key=$(cksum <pyproject.toml | cut -d' ' -f1)
stamp=$venv/.stamp-$key
pip() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

work=$(mktemp -d "${TMPDIR:-/tmp}/vaekit-notorch.XXXXXX")
trap 'rm -rf "$work"' EXIT

if [ ! -e "$stamp" ]; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
    pip . pytest pandas
    touch "$stamp"
fi
# The wheel, not the source tree: what is missing in the package is missing here too.
pip --no-deps --force-reinstall .

if "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    echo "error: torch can be imported in $venv, so this would prove nothing; remove that environment" >&2
    exit 1
fi

echo "making bundles and expected answers with torch"
PYTHONPATH=$PWD/src:$PWD "$python" tests/notorch/make_fixtures.py "$work/fixtures"

echo "asking the same bundles without torch"
cp tests/notorch/*.py "$work/"
cd "$work"
env -u PYTHONPATH VAEKIT_FIXTURES="$work/fixtures" PATH="$venv/bin:$PATH" \
    "$venv/bin/python" -m pytest -c /dev/null --rootdir "$work" -p no:cacheprovider -q test_answers.py
