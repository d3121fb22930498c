#!/usr/bin/env bash
# Proof that clients which were not written for vaekit work with it unmodified: tritonclient, the client of kserve, and
# schemathesis. They need other versions of protobuf than the service, so they live in an environment of their own; the
# service runs in .venv, in front of models that are made here.
#
#   tests/conformance/serve.py DIR         run with torch: makes models, rows and expected answers, and serves them
#   tests/conformance/test_*.py            run where the clients are: they ask $VAEKIT_URL and $VAEKIT_GRPC
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$PWD/.venv/bin/python
venv=$PWD/.venv-conformance
key=$(cksum <tests/conformance/requirements.txt | cut -d' ' -f1)
stamp=$venv/.stamp-$key

work=$(mktemp -d "${TMPDIR:-/tmp}/vaekit-conformance.XXXXXX")
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

if [ ! -e "$stamp" ]; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/conformance/requirements.txt
    touch "$stamp"
fi

echo "making models and expected answers"
PYTHONPATH=$PWD/src:$PWD "$python" tests/conformance/serve.py "$work" &
server=$!
while [ ! -e "$work/address.json" ]; do
    kill -0 "$server" 2>/dev/null || { echo "error: the service did not start" >&2; exit 1; }
    sleep 0.2
done

echo "asking them with clients of others"
cp tests/conformance/test_*.py tests/conformance/asking.py "$work/"
cd "$work"
env -u PYTHONPATH VAEKIT_WORK="$work" "$venv/bin/python" -m pytest -c /dev/null --rootdir "$work" \
    -p no:cacheprovider -q --durations=5 .
