#!/usr/bin/env bash
# Times whole programs over one capture, in turn on one processor: those of capinfos, nfpcapd, argus, ndpiReader, tshark,
# suricata, zeek and mercury that are installed, and Hydrophone with one thread there and with two anywhere. Prints a table of
# medians and of ratios to Hydrophone's one thread, taken round by round, because machines drift.
# Usage: benches/compare.sh CAPTURE [ROUNDS=5], with SLOW=1 for tshark too      (Debian: apt-get install tshark nfdump argus-server libndpi-bin time)
set -euo pipefail
capture=$(realpath "$1")
rounds=${2:-5}
cd "$(dirname "$0")/.."
cargo build --release --quiet
hydrophone=$PWD/target/release/hydrophone
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat "$capture" >/dev/null

declare -A commands=(
  [hydrophone]="taskset -c 0 $hydrophone read $capture --threads 1 --json --quiet"
  [hydrophone-2]="$hydrophone read $capture --threads 2 --json --quiet"
)
order=(hydrophone hydrophone-2)
add() { # name, program, arguments
  command -v "$2" >/dev/null 2>&1 || return 0
  order+=("$1")
  commands[$1]="taskset -c 0 ${*:2}"
}
add capinfos capinfos -c -u "$capture"
add nfpcapd nfpcapd -r "$capture" -l "$work/out"
add argus argus -X -r "$capture" -w "$work/out/argus"
add ndpiReader ndpiReader -i "$capture"
add mercury mercury -r "$capture" -f "$work/out/mercury"
add suricata suricata -r "$capture" -l "$work/out" -S /dev/null
add zeek zeek -r "$capture" Log::default_logdir="$work/out"
[ -z "${SLOW:-}" ] || add tshark tshark -r "$capture" -q -z io,stat,0

for round in $(seq 0 "$rounds"); do # round 0 warms up
  for name in "${order[@]}"; do
    rm -rf "$work/out" && mkdir -p "$work/out"
    # shellcheck disable=SC2086 # the commands are words
    /usr/bin/time -f "$name $round %e %U %S %M" -a -o "$work/times" ${commands[$name]} >/dev/null 2>"$work/err" || true
  done
done
echo "| program | wall s | user s | system s | peak MiB | wall, program : Hydrophone |"
echo "|---|---|---|---|---|---|"
for name in "${order[@]}"; do
  awk -v name="$name" '
    function median(a, n,   i, j, t) {
      for (i = 2; i <= n; i++) { t = a[i]; for (j = i - 1; j > 0 && a[j] > t; j--) a[j + 1] = a[j]; a[j + 1] = t }
      return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
    }
    NF == 6 && $2 > 0 && $1 == "hydrophone" { base[$2] = $3 }
    NF == 6 && $2 > 0 && $1 == name { n++; wall[n] = $3; user[n] = $4; sys[n] = $5; mem[n] = $6; of[n] = $2 }
    END {
      for (i = 1; i <= n; i++) { ratio[i] = wall[i] / base[of[i]] }
      low = high = ratio[1]
      for (i = 2; i <= n; i++) { if (ratio[i] < low) low = ratio[i]; if (ratio[i] > high) high = ratio[i] }
      printf "| %s | %.2f | %.2f | %.2f | %.0f | %.2f (%.2f–%.2f) |\n", name, median(wall, n), median(user, n), median(sys, n), median(mem, n) / 1024, median(ratio, n), low, high
    }' "$work/times"
done
