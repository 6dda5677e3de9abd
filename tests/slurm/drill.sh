#!/bin/bash
# A sweep on a real Slurm of one node: every shard of the array runs its part, and a second submission runs nothing.
# Needs root and Debian's slurm-wlm and munge; leaves nothing running.
#   apt-get install -y slurm-wlm munge && bash tests/slurm/drill.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v slurmctld slurmd munged sbatch > /dev/null || { echo "needs Debian's slurm-wlm and munge"; exit 2; }
ABLKIT=$(command -v "${ABLKIT:-ablkit}" || echo "$PWD/.venv/bin/ablkit")
work=$(mktemp -d /tmp/slurm-drill.XXXX)
export ABLKIT ABLKIT_RUNS=$work/runs SLURM_CONF=$work/slurm.conf OMP_NUM_THREADS=1
trap 'pkill -f "slurm.*$work" || true; [ -z "${munge:-}" ] || kill "$munge" || true; rm -rf "$work"' EXIT

[ -f /etc/munge/munge.key ] || dd if=/dev/urandom bs=1 count=1024 of=/etc/munge/munge.key status=none
chown -R munge: /etc/munge && chmod 400 /etc/munge/munge.key
mkdir -p /run/munge && chown munge: /run/munge
if ! munge -n > /dev/null 2>&1; then
    runuser -u munge -- munged --foreground & munge=$!
    for _ in $(seq 50); do munge -n > /dev/null 2>&1 && break; sleep 0.2; done
fi
cat > "$SLURM_CONF" << CONF
ClusterName=drill
SlurmctldHost=$(hostname)
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
JobAcctGatherType=jobacct_gather/none
NodeName=$(hostname) CPUs=$(nproc) State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=30 State=UP
CONF
mkdir -p "$work/state" "$work/spool"
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 50); do [ "$(sinfo -h -o %t)" = idle ] && break; sleep 0.2; done

submit() {  # the template as it stands; this node has no GPU to ask for
    sbatch --wait --gpus=0 --cpus-per-task=1 --array=0-1 --output="$work/task-%a.log" \
        notebooks/sweeps/slurm.sh notebooks/sweeps/smoke.yaml
    cat "$work"/task-*.log
}
submit
[ "$(ls "$ABLKIT_RUNS"/run/*/metrics.json | wc -l)" = 4 ] || { echo "FAILED: not all runs are done"; exit 1; }
submit > "$work/again.log"
[ "$(grep -c 'runs, [1-3] of them done' "$work/again.log")" = 2 ] || { echo "FAILED: a shard got no run"; exit 1; }
[ "$(grep -c 'done before' "$work/again.log")" = 4 ] && [ "$(grep -c '^started' "$work/again.log")" = 4 ] || {
    echo "FAILED: the second submission ran something"; exit 1; }
echo "Slurm drill passed: 4 runs in 2 shards, nothing run twice"
