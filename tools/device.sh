#!/usr/bin/env bash
# Checks semdiff on a machine with a GPU: builds it beside the torch that is there, runs every operator on the device against the CPU's
# kernels, one transmission, the time of each operator, and one stage of a training. It needs no network.
#
#   tools/device.sh OUT [SECONDS] [STAGE]
#
# OUT: folder for the log and the checkpoints. SECONDS: for the training, 300 if left out. STAGE: of semdiff.training.recipes.pixels, flow if
# left out. DEVICE=cpu tries the script where there is no GPU. OUT/run may hold checkpoints of earlier stages or of this one: it goes on.
# Needs scikit-build-core, pybind11, cmake, ninja, diffusers, accelerate, safetensors and tqdm in the interpreter $PYTHON (python3), and
# Fashion-MNIST's files in $SEMDIFF_FASHION_MNIST or where Debian has them.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: tools/device.sh OUT [SECONDS] [STAGE]}
seconds=${2:-300} stage=${3:-flow} python=${PYTHON:-python3}
mkdir -p "$out"
if ! PYTHONPATH=python "$python" -c 'import semdiff' 2>/dev/null; then
  "$python" -m pip install -q --no-index --no-build-isolation --no-deps --target "$out/site" .
  export PYTHONPATH="$out/site:$PWD"
else
  export PYTHONPATH="$PWD/python:$PWD"
fi
"$python" -m tests.device --device "${DEVICE:-cuda}" | tee "$out/contract.log"
if [ "$seconds" -gt 0 ]; then
  timeout --signal=INT "$seconds" "$python" -m semdiff.training.recipes.pixels fashion-mnist --out "$out/run" --stages "$stage" \
    2> >(tail -c 2000 >&2) || [ $? = 124 ]
fi
