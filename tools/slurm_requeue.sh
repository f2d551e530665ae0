#!/bin/bash
#SBATCH --job-name=fish --nodes=2 --ntasks-per-node=8 --gres=gpu:8 --cpus-per-task=4 --time=24:00:00
#SBATCH --signal=TERM@180 --requeue --open-mode=append
# Trains under Slurm, over as many time limits as it takes: sbatch [flags of sbatch] tools/slurm_requeue.sh CONFIG [flags of tools/train.py]
# 180 seconds before the limit every process gets SIGTERM, saves and ends with status 75. The job then queues itself
# again, at most MAX_RESTARTS times (50), and continues from its newest checkpoint.
set -uo pipefail
[ $# -ge 1 ] || { sed -n 4,6p "$0"; exit 2; }
status=0
srun --kill-on-bad-exit=1 python -u -m fishnet_mmdet train "$@" --launcher slurm --resume || status=$?
case $status in
    # Asked to stop; or, of several ranks, one that was slower than the others was ended, or one was lost.
    75 | 137 | 143 | 69)
        if [ "${SLURM_RESTART_COUNT:-0}" -lt "${MAX_RESTARTS:-50}" ]; then
            echo "status $status: queueing job $SLURM_JOB_ID again"
            scontrol requeue "$SLURM_JOB_ID" && exit 0
        fi
        ;;
esac
exit "$status"
