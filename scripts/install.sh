#!/bin/sh
# Make a virtual environment and install this project into it, with every requirement pinned and hashed.
# Does nothing when the environment already holds exactly that.
#
# usage: scripts/install.sh PYTHON FOLDER REQUIREMENTS...
#   REQUIREMENTS: names in requirements/ without .txt, such as: demo; dev; agent-tflite build
set -eu

if [ $# -lt 3 ]; then
    echo "usage: scripts/install.sh PYTHON FOLDER REQUIREMENTS..." >&2
    exit 2
fi
python=$1
folder=$2
shift 2
cd "$(dirname "$0")/.."

files=
names=
for name in "$@"; do
    files="$files requirements/$name.txt"
    names="$names-$name"
done

# The stamp says what the environment was made from: the pins, what describes the project (all of pyproject.toml
# that stands before the settings of the checking tools), and the interpreter.
interpreter=$("$python" -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null || true)
# shellcheck disable=SC2086  # the names hold no spaces
key=$({ pwd; echo "$interpreter"; cat $files; sed '/^\[tool\.ruff\]/,$d' pyproject.toml; } | sha256sum | cut -d' ' -f1)
stamp=$folder/.fieldloop$names
if [ -x "$folder/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
    exit 0
fi

# Another interpreter, or one that is gone: start anew. Otherwise pip changes only what differs.
made_with=$("$folder/bin/python" -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null || true)
if [ -z "$interpreter" ] || [ "$made_with" != "$interpreter" ] ||
    ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    sh scripts/make-venv.sh "$python" "$folder"
fi

rm -f "$stamp"
echo "Installing requirements ($*) into $folder: once, until they change"
quiet=
[ -t 1 ] || quiet=--quiet
requirements=
for file in $files; do
    requirements="$requirements --requirement $file"
done
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
# Wheels only: what is built from source pulls in build tools that no hash covers.
# shellcheck disable=SC2086
"$folder/bin/python" -m pip install $quiet --require-hashes --only-binary :all: $requirements || {
    echo "install: pip could not install the requirements into $folder; see its words above." >&2
    echo "install: the usual reason is no network. Run the same command again; what was fetched is kept." >&2
    exit 1
}
"$folder/bin/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
echo "$key" >"$stamp"
