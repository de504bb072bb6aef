#!/bin/sh
# Make a virtual environment with pip in it, or stop with the one line that mends what is missing.
#
# usage: scripts/make-venv.sh PYTHON FOLDER
#
# Debian and its children leave ensurepip out of python3, so `python3 -m venv` fails there until
# python3-venv is installed, which takes root. Without root pip comes, in this order, from: ensurepip,
# virtualenv (module, command or zipapp), Debian's own pip wheel, the user's pip, uv.
set -u

say() {
    echo "make-venv: $*" >&2
}

if [ $# -ne 2 ]; then
    echo "usage: scripts/make-venv.sh PYTHON FOLDER" >&2
    exit 2
fi
python=$1
folder=$2

# --- The interpreter -------------------------------------------------------------------------------
if ! command -v "$python" >/dev/null 2>&1; then
    say "there is no $python here. Install Python 3.11 or newer (Debian, Ubuntu, Raspberry Pi OS:"
    say "    sudo apt-get install python3 python3-venv"
    say "), or name the one to use: make demo PYTHON=/path/to/python3"
    exit 1
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || version=
if [ -z "$version" ]; then
    say "$python does not start. Name another one: make demo PYTHON=/path/to/python3"
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "$python is Python $version, which is too old: Fieldloop needs 3.11 or newer."
    for newer in python3.13 python3.12 python3.11; do
        if command -v "$newer" >/dev/null 2>&1 && "$newer" --version >/dev/null 2>&1; then
            say "There is a $newer: make demo PYTHON=$newer"
            exit 1
        fi
    done
    say "Install a newer one, then name it: make demo PYTHON=/path/to/python3.11"
    exit 1
fi

# --- The folder ------------------------------------------------------------------------------------
# Only what is a virtual environment, or empty, may be replaced.
if [ -e "$folder" ] && [ ! -e "$folder/pyvenv.cfg" ] && [ -n "$(ls -A "$folder" 2>/dev/null)" ]; then
    say "$folder is there already and is no virtual environment. Move it away, then try again."
    exit 1
fi
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'rm -rf "$folder"; exit 130' INT TERM

has_pip() {
    "$folder/bin/python" -m pip --version >>"$log" 2>&1
}

# Run a command that should leave an environment with pip; whatever else it leaves is removed.
attempt() {
    how=$1
    shift
    rm -rf "$folder"
    echo "--- $how: $*" >>"$log"
    if "$@" >>"$log" 2>&1 && has_pip; then
        [ "$how" = venv ] || say "$python has no ensurepip; made $folder with $how instead."
        exit 0
    fi
    rm -rf "$folder"
}

empty_venv() {
    "$python" -m venv --without-pip "$folder"
}

from_debian_wheel() {
    for wheel in "${FIELDLOOP_PYTHON_WHEELS:-/usr/share/python-wheels}"/pip-*.whl; do
        [ -e "$wheel" ] && empty_venv && "$folder/bin/python" "$wheel/pip" install --no-index "$wheel" && return 0
    done
    return 1
}

from_user_pip() {
    # pip learnt --python in 22.3; before that, --target does.
    empty_venv || return 1
    "$python" -m pip --python "$folder/bin/python" install pip && return 0
    "$python" -m pip install --target "$folder/lib/python$version/site-packages" pip
}

# --- The ways --------------------------------------------------------------------------------------
attempt venv "$python" -m venv "$folder"
attempt "the virtualenv module" "$python" -m virtualenv "$folder"
if command -v virtualenv >/dev/null 2>&1; then
    attempt "the virtualenv command" virtualenv --python "$python" "$folder"
fi
for zipapp in "${FIELDLOOP_VIRTUALENV:-}" ./virtualenv.pyz "${HOME:-/nonexistent}/virtualenv.pyz"; do
    if [ -n "$zipapp" ] && [ -f "$zipapp" ]; then
        attempt "the zipapp $zipapp" "$python" "$zipapp" "$folder"
    fi
done
attempt "Debian's pip wheel" from_debian_wheel
attempt "the pip of $python" from_user_pip
if command -v uv >/dev/null 2>&1; then
    attempt "uv" uv venv --seed --python "$python" "$folder"
fi

if [ -n "${MAKE_VENV_VERBOSE:-}" ]; then
    cat "$log" >&2
fi
package=python3-venv
if [ "$version" != "$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" ]; then
    package=python$version-venv
fi
say "$python cannot make a virtual environment: it has no ensurepip, and there is no virtualenv, pip or uv here."
say "This mends it (Debian, Ubuntu, Raspberry Pi OS):"
say "    sudo apt-get install $package"
say "Without root: put virtualenv.pyz into this folder, or set FIELDLOOP_VIRTUALENV to its path."
exit 1
