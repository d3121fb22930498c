# Sourced by scripts that test the wheel in an environment of its own, made once for each state of pyproject.toml.
#
#   environment NAME PACKAGE...   makes .venv-NAME with the wheel's base dependencies and some packages, puts the wheel of
#                                 this tree into it (what is missing in the package is missing here too), and sets $venv
#   fixtures                      makes bundles, rows and answers with torch in $VAEKIT_ZOO, or in a folder that goes at
#                                 the end, and sets $fixtures, and $work, which goes at the end

python=${VAEKIT_TORCH_PYTHON:-$PWD/.venv/bin/python}

environment() {
    local name=$1 stamp
    shift
    venv=$PWD/.venv-$name
    stamp=$venv/.stamp-$(cksum <pyproject.toml | cut -d' ' -f1)
    if [ ! -e "$stamp" ]; then
        rm -rf "$venv"
        "$python" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check . pytest pandas "$@"
        touch "$stamp"
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
    if "$venv/bin/python" -c 'import torch' 2>/dev/null; then
        echo "error: torch can be imported in $venv, so this would prove nothing; remove that environment" >&2
        exit 1
    fi
}

fixtures() {
    work=$(mktemp -d "${TMPDIR:-/tmp}/vaekit-tests.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "making bundles and expected answers with torch"
    fixtures=${VAEKIT_ZOO:-$work/fixtures}
    PYTHONPATH=$PWD/src:$PWD "$python" tests/notorch/make_fixtures.py "$fixtures"
    cp tests/notorch/alike.py "$work/"
}
