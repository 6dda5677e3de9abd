#!/usr/bin/env bash
# What to do with a quarter of an hour on one GPU; see README.md beside this file.
#   bash benchmarks/gpu/measure.sh OUT [PART ...]      parts: check speed run sweep; all of them by default
# Each part has a limit of its own, in seconds, and one that fails does not stop the next.
set -u
OUT=$1; shift
PARTS=${*:-check speed run sweep}
PYTHON=${PYTHON:-python3} DEVICE=${DEVICE:-cuda} PRESET=${PRESET:-paper} PER_GPU=${PER_GPU:-12}
SWEEP=${SWEEP:-notebooks/sweeps/paper_gpu.yaml} SECONDS_FOR_RUNS=${SECONDS_FOR_RUNS:-400}
export PYTHONUNBUFFERED=1 PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$OUT"

part() { # NAME LIMIT COMMAND...
    local name=$1 limit=$2 begun=$SECONDS; shift 2
    timeout --kill-after=10 "$limit" "$@" >"$OUT/$name.txt" 2>&1
    echo "$name: exit $? after $((SECONDS - begun)) of at most $limit s"
}

for name in $PARTS; do
    case $name in
    check)  part check 100 "$PYTHON" -m pytest -q -m cuda -o addopts= -W default -p no:cacheprovider -p no:benchmark tests/test_cuda.py
            tail -n 25 "$OUT/check.txt" ;;
    speed)  part speed 150 "$PYTHON" benchmarks/gpu/speed.py "$OUT/speed.json" "$DEVICE"
            tail -n 25 "$OUT/speed.txt" ;;
    run)    part run 150 "$PYTHON" -m ablkit.cli run run --preset "$PRESET" -p device "$DEVICE"
            tail -n 25 "$OUT/run.txt" ;;
    sweep)  budget=$("$PYTHON" -c "print($SECONDS_FOR_RUNS / 60)")
            if [ "$DEVICE" = cuda ]; then room="--per-gpu $PER_GPU"; else room="--workers 2"; fi
            # shellcheck disable=SC2086
            part sweep $((SECONDS_FOR_RUNS + 60)) "$PYTHON" -m ablkit.cli sweep "$SWEEP" --preset "$PRESET" $room --budget "$budget"
            tail -n 25 "$OUT/sweep.txt" ;;
    esac
done
part bundle 60 "$PYTHON" -m ablkit.cli runs bundle --to "$OUT/runs.tar.gz"
tail -n 3 "$OUT/bundle.txt"
