#!/usr/bin/env bash
# Trains on several GPUs of one or more machines: tools/dist_train.sh CONFIG GPUS [flags of tools/train.py]
# On several machines, start it on each with NNODES, NODE_RANK, MASTER_ADDR and, if 29500 is in use, PORT set.
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,3p "$0"; exit 2; }
config=$1 gpus=$2
shift 2
exec torchrun --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$gpus" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
