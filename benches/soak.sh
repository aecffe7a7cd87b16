#!/bin/sh
# Listens for so many minutes to a capture that is played again and again over a pair of interfaces of its own, with a store, a state, and a reload each minute, and
# says each half minute what it takes: resident memory, the packets seen and lost, how far its clock is behind.
# Usage: benches/soak.sh CAPTURE [MINUTES [PACKETS/s]]   (root; ip, tcpreplay; HYDROPHONE=the program)
set -eu
CAPTURE=$1
MINUTES=${2:-60}
RATE=${3:-5000}
H=${HYDROPHONE:-target/release/hydrophone}
NS=hydrophone-soak-$$
DIR=$(mktemp -d)
ip netns add "$NS"
trap 'kill $PLAYER 2>/dev/null || true; ip netns del "$NS"; rm -rf "$DIR"' EXIT
in_ns() { ip netns exec "$NS" "$@"; }
in_ns sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip -n "$NS" link add name va type veth peer name vb
for i in va vb; do ip -n "$NS" link set "$i" mtu 9000 up; done
: >"$DIR/expect.toml"
ip netns exec "$NS" "$H" listen -i vb --json --home 10.0.0.0/8,172.16.0.0/12,192.168.0.0/16 --memory "${MEMORY:-512MiB}" \
  --state "$DIR/state" --store "$DIR/store" --expect "$DIR/expect.toml" >"$DIR/out" 2>"$DIR/err" &
LISTENER=$!
sleep 2
ip netns exec "$NS" tcpreplay -q -K --loop=0 --pps="$RATE" -i va "$CAPTURE" >/dev/null 2>&1 &
PLAYER=$!
half=0
while [ "$half" -lt $((MINUTES * 2)) ]; do
  sleep 30
  half=$((half + 1))
  kill -USR1 "$LISTENER"
  [ $((half % 2)) = 0 ] && kill -HUP "$LISTENER"
  sleep 0.2
  rss=$(awk '/VmRSS/ { print int($2 / 1024) }' "/proc/$LISTENER/status")
  echo "$((half / 2)) min: $rss MiB resident, store $(du -sm "$DIR/store" | cut -f1) MiB, $(grep -c '' "$DIR/out") turns; now $(date -u +%H:%M:%S); $(grep 'no room' "$DIR/err" | tail -1 | cut -d' ' -f2-)"
done
kill "$PLAYER"
kill -TERM "$LISTENER"
wait "$LISTENER" || echo "ended with $?"
grep -c "read anew" "$DIR/err" | sed 's/$/ reloads/'
grep -h '"type":"capture"' "$DIR/out" | grep -o '"packets":[0-9]*\|"dropped_by_capture":[0-9]*\|"backward_jumps":[0-9]*' | head -3
