#!/usr/bin/env bash
# Everything that wants a GPU, with models of random weights: labels by layout and by judge, chains against the one-batch
# ceiling, preference models against TRL's trainer, and steps of reinforcement learning with vLLM in the trainer's process.
#
#     benchmarks/gpu/all.sh FOLDER        one table a file; what is there already is not measured again
set -uo pipefail
folder=$(realpath -m "${1:?name a folder for the tables}")
cd "$(dirname "$0")/../.."
mkdir -p "$folder"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

measure() {
    local name=$1
    shift
    [ -s "$folder/$name.txt" ] && return
    echo "$name: python benchmarks/$*"
    if python "benchmarks/$1" "${@:2}" > "$folder/$name.partial" 2> "$folder/$name.log"; then
        mv "$folder/$name.partial" "$folder/$name.txt"
        cat "$folder/$name.txt"
    else
        echo "failed; see $folder/$name.log" >&2
    fi
}

measure layouts feedback_layouts.py --shape 8b --pairs 256
measure layouts-no-few-shots feedback_layouts.py --shape 8b --pairs 256 --no-few-shots
measure judges gpu/judges.py --shape 8b --pairs 256
measure chains chain_schedules.py --shape 8b --prompts 1024 --tokens 128 --rows-in-flight 1024
measure preference-training preference_training.py
measure steps-vllm policy_steps.py --shape 1b --engine vllm --batch 256 --max-tokens 256
measure steps-vllm-sleep policy_steps.py --shape 1b --engine vllm --batch 256 --max-tokens 256 --sleep
measure steps-transformers policy_steps.py --shape 1b --engine transformers --batch 256 --max-tokens 256
