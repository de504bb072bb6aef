#!/bin/sh
# Compile requirements/*.txt from pyproject.toml: every version and every hash, for every Python from
# 3.11 on and every machine, and no address of any index.
#
# usage: scripts/lock.sh UV [--upgrade]
#
# Without --upgrade a pin stays as it is while pyproject.toml allows it.
set -eu

if [ $# -lt 1 ]; then
    echo "usage: scripts/lock.sh UV [--upgrade]" >&2
    exit 2
fi
uv=$1
shift
cd "$(dirname "$0")/.."
mkdir -p requirements

compile() {
    file=$1
    shift
    echo "lock: requirements/$file"
    "$uv" pip compile --quiet --universal --python-version "${oldest:-3.11}" --generate-hashes \
        --custom-compile-command "make lock" --no-emit-index-url --no-emit-find-links \
        --constraints requirements/constraints.in --output-file "requirements/$file" "$@"
}
project() {
    file=$1
    shift
    compile "$file" pyproject.toml "$@"
}

# 1. The main job first: whatever is installed beside it takes its versions.
project demo.txt --extra all --group build "$@"
project dev.txt --extra all --extra dev --group build --constraints requirements/demo.txt "$@"
project agent-onnx.txt --extra agent-onnx --constraints requirements/demo.txt "$@"
# 2. tflite-runtime wants an older numpy than all the rest, and tritonclient an older ml-dtypes: they agree with nobody.
project agent-tflite.txt --extra agent-tflite "$@"
# What the Debian package of the agent carries.
project agent.txt --constraints requirements/demo.txt "$@"
project triton.txt --extra triton "$@"
project mlserver.txt --extra mlserver --group build "$@"
project feast.txt --extra feast --group build "$@"
# 3. MLflow's page reads what our mlflow-skinny wrote: they must be of one version.
mkdir -p build
sed -n 's/^\(mlflow-skinny==[^ ]*\).*/\1/p' requirements/demo.txt >build/mlflow-version.txt
project registry-ui.txt --extra registry-ui --constraints build/mlflow-version.txt "$@"
# The SDK of Kubeflow Pipelines reads and writes files of its own only: it agrees with nobody.
project kubeflow.txt --extra kubeflow "$@"
compile kubeflow-build.txt --group kubeflow-build "$@"
# 4. What installs this project itself where build isolation is off.
compile build.txt --group build --constraints requirements/demo.txt "$@"
# 5. onnx2tf without TensorFlow needs a newer Python, and agrees with nobody.
oldest=3.12
project onnx2tf.txt --extra onnx2tf "$@"
