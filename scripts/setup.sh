#!/bin/sh
# Makes .venv with Python 3.10, the newest that NNabla has wheels for, and installs what the
# requirements files pin. Use: scripts/setup.sh REQUIREMENTS.txt...
#
# Python 3.10 is looked for in NNCLIP_PYTHON, on the PATH, among pyenv's versions and at last among
# uv's own builds. uv, which installs, comes from the PATH or into .tools; without it pip installs.
set -eu
export PIP_DISABLE_PIP_VERSION_CHECK=1
cd "$(dirname "$0")/.."
root=$PWD

say() { printf 'setup: %s\n' "$1" >&2; }
fail() { say "$1"; exit 1; }

# Prints the real path of the Python "$1" (which may be a shim of pyenv) if it is a 3.10.
real_310() {
    "$1" -c 'import sys, venv; sys.version_info[:2] == (3, 10) and print(sys.executable)' 2>/dev/null ||
        true
}

find_python() {
    if [ -n "${NNCLIP_PYTHON:-}" ]; then
        real_310 "$NNCLIP_PYTHON"
        return
    fi
    for candidate in python3.10 python3 "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.10*/bin/python3.10; do
        found=$(real_310 "$candidate")
        if [ -n "$found" ]; then
            echo "$found"
            return
        fi
    done
}

# Prints the path of uv, fetched into .tools by the Python "$1" where the PATH has none.
find_uv() {
    command -v uv && return
    if [ ! -x .tools/bin/uv ]; then
        say "fetching uv into .tools"
        # from /, because here .python-version would make pyenv refuse to start any other Python
        (cd / && "$1" -m venv --clear "$root/.tools") >/dev/null 2>&1 &&
            .tools/bin/python -m pip install -qq --require-hashes -r requirements-tools.txt >&2 ||
            return 1
    fi
    echo "$root/.tools/bin/uv"
}

make_venv() {
    rm -rf .venv
    if [ -n "$uv" ] && [ -n "$python" ]; then
        "$uv" venv --quiet --python "$python" .venv
    elif [ -n "$python" ]; then
        "$python" -m venv .venv
    elif [ -z "$uv" ] || ! "$uv" venv --quiet --python 3.10 .venv 2>/dev/null; then
        fail "no Python 3.10 found, nor could uv fetch one: install it (for instance: pyenv install 3.10), or name it: NNCLIP_PYTHON=/path/to/python3.10 make setup"
    fi
}

install() {
    for file; do
        set -- "$@" -r "$file"
        shift
    done
    if [ -n "$uv" ]; then
        "$uv" pip install --python .venv/bin/python --require-hashes --compile-bytecode "$@" && return
        say "uv did not get through; trying pip, which knows your pip.conf"
    fi
    .venv/bin/python -m ensurepip >/dev/null
    .venv/bin/python -m pip install --require-hashes "$@"
}

case "$(uname -sm)" in
    "Linux x86_64") ;;
    *) fail "this is $(uname -sm), but NNabla and the pinned requirements are for Linux x86_64" ;;
esac
python=$(find_python)
if [ -n "${NNCLIP_PYTHON:-}" ] && [ -z "$python" ]; then
    fail "NNCLIP_PYTHON=$NNCLIP_PYTHON is no Python 3.10: name the program of a Python 3.10, or unset it"
fi
uv=$(find_uv "${python:-python3}") || uv=
[ -n "$(real_310 .venv/bin/python)" ] || make_venv
install "$@"
# lets every script of this folder, wherever it is started, import nnclip
echo "$root" >.venv/lib/python3.10/site-packages/nnclip.pth
# the command that `pip install` would make; sh starts Python, since a path may be long or have blanks
cat >.venv/bin/nnclip <<END
#!/bin/sh
'''exec' "$root/.venv/bin/python" "\$0" "\$@"
' '''
from nnclip.cli import main

if __name__ == "__main__":  # processes that it spawns import it
    raise SystemExit(main())
END
chmod +x .venv/bin/nnclip
