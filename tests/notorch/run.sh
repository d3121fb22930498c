#!/usr/bin/env bash
# Proof that bundles run without torch: bundles and answers are made in .venv (which has torch); a second environment gets
# the wheel with its base dependencies only, and has to give the same answers there.
#
#   tests/notorch/make_fixtures.py DIR     run with torch: writes bundles, rows and expected answers to DIR
#   tests/notorch/test_answers.py          run without torch: reads them from $VAEKIT_FIXTURES
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/environment.sh

environment notorch
fixtures
cp tests/notorch/test_answers.py "$work/"
echo "asking the same bundles without torch"
cd "$work"
env -u PYTHONPATH VAEKIT_FIXTURES="$fixtures" PATH="$venv/bin:$PATH" \
    "$venv/bin/python" -m pytest -c /dev/null --rootdir "$work" -p no:cacheprovider -q test_answers.py
