#!/usr/bin/env bash
# Clients of others, unmodified, against a real service: the service runs in .venv, the clients in .venv-conformance.
#
#   tests/conformance/make_fixtures.py DIR   run in .venv: writes bundles and rows to DIR
#   tests/conformance/test_*.py              run in .venv-conformance: they start the service, and ask it
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${VAEKIT_PYTHON:-$PWD/.venv/bin/python}
venv=$PWD/.venv-conformance
key=$(cksum <tests/conformance/requirements.txt | cut -d' ' -f1)
stamp=$venv/.stamp-$key

work=$(mktemp -d "${TMPDIR:-/tmp}/vaekit-conformance.XXXXXX")
trap 'rm -rf "$work"' EXIT

if [ ! -e "$stamp" ]; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/conformance/requirements.txt
    touch "$stamp"
fi

PYTHONPATH=$PWD/src:$PWD "$python" tests/conformance/make_fixtures.py "$work"
cp tests/conformance/*.py tests/conformance/*.toml "$work/"
export VAEKIT_FIXTURES=$work VAEKIT_PYTHON=$python VAEKIT_SOURCE=$PWD/src
cd "$work"
# Each client in a process of its own: two of them describe the same protocol, and cannot be in one.
for file in test_*.py; do
    env -u PYTHONPATH "$venv/bin/python" -m pytest -c /dev/null --rootdir "$work" -p no:cacheprovider -q "$file" "$@"
done
