#!/bin/sh
# Tries what packaging/build.sh made as a stranger would: in empty Debian 12 and 13 roots, without a network, and in a root that holds nothing
# but the program (what a container FROM scratch is). Needs root, debootstrap, unshare.
# Usage: packaging/try.sh [FOLDER of what was built]
set -eu
cd "$(dirname "$0")/.."
OUT="$(cd "${1:-packaging/out}" && pwd)"
MIRROR="${MIRROR:-http://deb.debian.org/debian}"
WORK="$(mktemp -d)"
trap 'rm -rf "$WORK"' EXIT
fail() { echo "WRONG: $*" >&2; exit 1; }
# Runs a command in a root, with a network of its own that leads nowhere.
within() { root=$1; shift; unshare --net --mount --pid --fork chroot "$root" "$@"; }
# The README's first command, and what it must say.
works() {
  root=$1
  program=$2
  said=$(within "$root" "$program" read /kraken-new.pcapng --quiet)
  case $said in *"INFECTED  10.20.0.13"*) ;; *) fail "$root: $said" ;; esac
  said=$(within "$root" "$program" --version)
  case $said in "hydrophone "*) ;; *) fail "$root: $said" ;; esac
}

(cd "$OUT" && sha256sum --check --quiet SHA256SUMS) || fail "the bytes are not those of SHA256SUMS"

mkdir "$WORK/scratch"
cp "$OUT/hydrophone" samples/kraken-new.pcapng "$WORK/scratch/"
works "$WORK/scratch" /hydrophone
echo "scratch: the program alone reads the sample"

mkdir "$WORK/tar"
tar -C "$WORK/tar" -xzf "$OUT"/hydrophone-*.tar.gz
cmp "$WORK"/tar/*/hydrophone "$OUT/hydrophone" || fail "the archive holds another program"
[ -s "$WORK"/tar/hydrophone-*/man1/hydrophone-read.1 ] || fail "the archive has no manual pages"

for release in bookworm trixie; do
  root="$WORK/$release"
  debootstrap --variant=minbase "$release" "$root" "$MIRROR" >"$WORK/$release.log" 2>&1 || { tail -5 "$WORK/$release.log"; fail "debootstrap $release"; }
  cp "$OUT"/hydrophone_*.deb samples/kraken-new.pcapng "$root/"
  within "$root" sh -c 'dpkg --install /hydrophone_*.deb' >"$WORK/$release.log" 2>&1 || { cat "$WORK/$release.log"; fail "$release: it does not install"; }
  works "$root" hydrophone
  for file in usr/share/bash-completion/completions/hydrophone usr/share/zsh/vendor-completions/_hydrophone \
    usr/share/fish/vendor_completions.d/hydrophone.fish; do
    [ -s "$root/$file" ] || fail "$release: no $file"
  done
  # A minimal root leaves manual pages out by its own wish; the package lists them.
  within "$root" dpkg-query --listfiles hydrophone | grep -q '/usr/share/man/man1/hydrophone-read.1.gz' || fail "$release: no manual page"
  # The unit: as the package has it, by the systemd of this release, in no network.
  chroot "$root" sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd' >"$WORK/$release.log" 2>&1 ||
    { tail -5 "$WORK/$release.log"; fail "$release: no systemd to verify the unit with"; }
  within "$root" systemd-analyze verify --man=no /usr/lib/systemd/system/hydrophone.service >"$WORK/$release.log" 2>&1 || { cat "$WORK/$release.log"; fail "$release: the unit"; }
  [ ! -s "$WORK/$release.log" ] || { cat "$WORK/$release.log"; fail "$release: the unit"; }
  within "$root" systemd-analyze security --offline=true --threshold=20 /usr/lib/systemd/system/hydrophone.service >"$WORK/$release.log" 2>&1 ||
    { tail -1 "$WORK/$release.log"; fail "$release: the unit has more rights than it needs"; }
  [ -s "$root/etc/default/hydrophone" ] || fail "$release: nothing says what is listened to"
  # Installed again over itself, and gone without a trace.
  within "$root" sh -c 'dpkg --install /hydrophone_*.deb && dpkg --purge hydrophone' >"$WORK/$release.log" 2>&1 || { cat "$WORK/$release.log"; fail "$release: it cannot be removed"; }
  [ -z "$(find "$root/usr" "$root/etc" "$root/var/lib" -path "$root/var/lib/dpkg" -prune -o -iname '*hydrophone*' -print)" ] || fail "$release: something is left"
  echo "$release: installs, reads the sample, is replaced and removed"
done
