#!/usr/bin/env bash
# A run on the nodes of a Slurm job: the first is Ray's head and runs the driver, all of them run models.
#   sbatch --nodes 4 --gpus-per-node 8 examples/slurm.sh recipes/my_run.yaml
# Slurm queues the job again when it loses a node, and the run goes on. With `sbatch --no-kill` it goes on at once on the
# nodes that are left; but a job that loses its first node is then idle until its time limit. Submit it again after the
# time limit, or when it was cancelled: the run goes on. The repository, its .venv, the recipe's files and the run folder
# are on a file system that every node sees.
#SBATCH --job-name=charter
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --requeue
set -euo pipefail
recipe=${1:?name a recipe: sbatch examples/slurm.sh recipes/my_run.yaml}
ray=${CHARTER_BIN:-$PWD/.venv/bin}/ray
python=${CHARTER_BIN:-$PWD/.venv/bin}/python
port=${RAY_PORT:-6379}

# One token for this job alone; srun hands the environment on, and no command line holds it.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]} # this script runs there
# An IP address, not a name: gRPC asks DNS for names, and waits where nobody answers.
address=${RAY_HEAD_ADDRESS:-$("$python" -c 'import ray; print(ray.util.get_node_ip_address())')}
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
  "$ray" start --head --block --node-ip-address="$address" --port="$port" --include-dashboard=false \
  --disable-usage-stats &
until "$ray" status --address "$address:$port" >/dev/null 2>&1; do sleep 2; done
join() { # a node; again where it cannot reach a busy head in time, or falls out
  for _ in 1 2 3 4 5; do
    srun --nodes=1 --ntasks=1 --nodelist="$1" --overlap \
      "$ray" start --block --address="$address:$port" --disable-usage-stats && return
    sleep 10
  done
}
for node in "${nodes[@]:1}"; do join "$node" & done

# SIGTERM before the time limit reaches the driver, which stops in order.
"$python" -m charter run "$recipe" --resume --set ray.address="$address:$port"
