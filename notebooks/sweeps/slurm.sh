#!/bin/bash
# A sweep as a Slurm array: each task runs its shard, in a folder that all nodes share. Submit from the clone:
#   sbatch --array=0-3 notebooks/sweeps/slurm.sh notebooks/sweeps/paper_cifar10.yaml --per-gpu 4
# Submit again to repeat what failed or was lost; what is done is not run twice.
#SBATCH --job-name=ablkit
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --output=slurm-%A-%a.log
exec "${ABLKIT:-.venv/bin/ablkit}" sweep "$@"
