#!/bin/sh
# Builds what is handed out into packaging/out: a static program as .tar.gz, a Debian package of it, and their SHA-256.
# Two runs over one commit give the same bytes, wherever the sources lie.
# Needs: cargo, a C compiler, make, libc6-dev, git; cargo-deb (it is installed into .ci/tools where there is none).
set -eu
cd "$(dirname "$0")/.."
have() { command -v "$1" >/dev/null 2>&1; }

ROOT=$PWD
OUT="$ROOT/packaging/out"
TARGET="$(uname -m)-unknown-linux-gnu"
BUILT="${CARGO_TARGET_DIR:-$ROOT/target}/package"
PATH="$ROOT/.ci/tools/bin:$PATH"
have cargo-deb || cargo install --quiet --locked --debug --root .ci/tools cargo-deb

# Nothing of the place or the time gets into what is built.
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
HYDROPHONE_COMMIT="${HYDROPHONE_COMMIT:-$(git rev-parse --short=10 HEAD)}"
export SOURCE_DATE_EPOCH HYDROPHONE_COMMIT LC_ALL=C TZ=UTC
umask 022
CRATES="${CARGO_HOME:-$HOME/.cargo}"
MAPS="$BUILT=/built $ROOT=/hydrophone $CRATES=/cargo"
RUSTFLAGS="-C target-feature=+crt-static"
CFLAGS=""
for map in $MAPS; do
  RUSTFLAGS="$RUSTFLAGS --remap-path-prefix=$map"
  CFLAGS="$CFLAGS -ffile-prefix-map=$map"
done
export RUSTFLAGS CFLAGS
CARGO_TARGET_DIR="$BUILT" cargo build --release --locked --target "$TARGET" -p hydrophone

PROGRAM="$BUILT/$TARGET/release/hydrophone"
rm -rf "$OUT"
mkdir -p "$OUT/completions"
"$PROGRAM" man --to "$OUT/man1"
for shell in bash zsh fish; do "$PROGRAM" completions "$shell" >"$OUT/completions/hydrophone.$shell"; done

VERSION=$("$PROGRAM" --version | cut -d' ' -f2)
NAME="hydrophone-$VERSION-$(uname -m)-linux"
mkdir "$OUT/$NAME"
cp "$PROGRAM" README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT "$OUT/$NAME/"
cp ARCHITECTURE.md "$OUT/$NAME/"
cp -r docs "$OUT/man1" "$OUT/completions" "$OUT/$NAME/"
tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -C "$OUT" -cf "$OUT/$NAME.tar" "$NAME"
gzip -9n "$OUT/$NAME.tar"

CARGO_TARGET_DIR="$BUILT" cargo deb --quiet -p hydrophone --target "$TARGET" --no-build --no-strip --output "$OUT/"
cp "$PROGRAM" "$OUT/hydrophone"
cp packaging/Containerfile "$OUT/"
rm -rf "$OUT/man1" "$OUT/completions" "${OUT:?}/$NAME"
cd "$OUT"
sha256sum -- *.tar.gz *.deb hydrophone Containerfile >SHA256SUMS
cat SHA256SUMS
