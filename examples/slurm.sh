#!/usr/bin/env bash
# A run on the nodes of a Slurm job: the first is Ray's head and runs the driver, all of them run models.
#   sbatch --nodes 4 --gpus-per-node 8 examples/slurm.sh recipes/my_run.yaml
# A lost node costs the rows it had in flight; if it is the first, Slurm queues the job again, and the run goes on. Submit
# it again after the time limit or when it was cancelled: the run goes on, too. The repository, its .venv, the recipe's
# files and the run folder are on a file system that every node sees.
#SBATCH --job-name=charter
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --no-kill
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
# A number and no name: gRPC asks DNS for names, and waits where nobody answers.
address=${RAY_HEAD_ADDRESS:-$("$python" -c 'import ray; print(ray.util.get_node_ip_address())')}
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
  "$ray" start --head --block --node-ip-address="$address" --port="$port" --include-dashboard=false \
  --disable-usage-stats &
until "$ray" status --address "$address:$port" >/dev/null 2>&1; do sleep 2; done
for node in "${nodes[@]:1}"; do
  srun --nodes=1 --ntasks=1 --nodelist="$node" --overlap \
    "$ray" start --block --address="$address:$port" --disable-usage-stats &
done

# SIGTERM before the time limit reaches the driver, which stops in order.
"$python" -m charter run "$recipe" --resume --set ray.address="$address:$port"
