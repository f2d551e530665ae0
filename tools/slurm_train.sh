#!/usr/bin/env bash
# Trains under Slurm: [GPUS=16] [GPUS_PER_NODE=8] [CPUS_PER_TASK=4] [GRACE=180] tools/slurm_train.sh PARTITION JOB CONFIG [flags of tools/train.py]
# GRACE seconds before its time limit the job gets SIGTERM, saves and ends with status 75; --resume continues from there.
# For a job that queues itself again, see tools/slurm_requeue.sh.
set -euo pipefail
[ $# -ge 3 ] || { sed -n 2,4p "$0"; exit 2; }
partition=$1 job=$2 config=$3
shift 3
gpus=${GPUS:-16}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
# Without quotes, so that SRUN_ARGS is split into words.
exec srun --partition="$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" \
    --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-4}" --kill-on-bad-exit=1 \
    --signal="TERM@${GRACE:-180}" ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/train.py" "$config" --launcher slurm "$@"
