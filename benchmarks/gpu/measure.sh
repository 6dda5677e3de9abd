#!/usr/bin/env bash
# What to do with a quarter of an hour on one GPU; see README.md beside this file.
#   bash benchmarks/gpu/measure.sh OUT [PART ...]      parts: check speed run sweep; all of them by default
# Each part has a limit of its own, in seconds, and one that fails does not stop the next.
set -u
[ $# -gt 0 ] || { echo "usage: bash benchmarks/gpu/measure.sh OUT [PART ...]" >&2; exit 2; }
mkdir -p "$1"; OUT=$(cd "$1" && pwd); shift
cd "$(dirname "$0")/../.." || exit
PARTS=${*:-check speed run sweep}
PYTHON=${PYTHON:-python3} DEVICE=${DEVICE:-cuda} PRESET=${PRESET:-paper} ROOM=${ROOM:---per-gpu 8}
SWEEP=${SWEEP:-notebooks/sweeps/paper_gpu.yaml} SECONDS_FOR_RUNS=${SECONDS_FOR_RUNS:-400} TOGETHER=${TOGETHER:-4}
export PYTHONUNBUFFERED=1 PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
ablkit() { "$PYTHON" -m ablkit.cli "$@"; }

part() { # NAME LIMIT COMMAND...
    local name=$1 limit=$2 begun=$SECONDS; shift 2
    # By an interrupt, as Ctrl-C: what runs keeps its checkpoints.
    timeout --signal=INT --kill-after=30 "$limit" "$@" >"$OUT/$name.txt" 2>&1
    echo "$name: exit $? after $((SECONDS - begun)) of at most $limit s"
    tail -n 25 "$OUT/$name.txt"
}

for name in $PARTS; do
    case $name in
    check) part check 90 "$PYTHON" -m pytest -q -m cuda -o addopts= -W default -p no:cacheprovider tests/test_cuda.py ;;
    speed) part speed 180 "$PYTHON" benchmarks/gpu/speed.py "$OUT/speed.json" "$DEVICE" ;;
    run)   part run 120 "$PYTHON" -m ablkit.cli run run --preset "$PRESET" -p device "$DEVICE" ;;
    # shellcheck disable=SC2086
    sweep) part sweep "$SECONDS_FOR_RUNS" "$PYTHON" -m ablkit.cli sweep "$SWEEP" --preset "$PRESET" $ROOM ;;
    *)     echo "$name is no part: check, speed, run, sweep" ;;
    esac
done

# Four runs with the scores of 50,000 images fit into an archive, about fourteen with those of 10,000.
number=0
ablkit runs --state done | grep -oE "^[0-9a-f]{12}" | xargs -r -n "$TOGETHER" | while read -r keys; do
    number=$((number + 1))
    # shellcheck disable=SC2086
    ablkit runs bundle --to "$OUT/runs-$number.tar.gz" $keys || echo "runs-$number.tar.gz: not all of $keys are in it"
done
ablkit runs --state done | cat
