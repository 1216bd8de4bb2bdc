#!/bin/sh
# Runs moec from a kit, on a machine without network or Node: sh run moec ARGS..., or sh run gpu -o FOLDER [PART...]. Unpacks once, into MOEC_KIT or a
# temporary folder of the user's own.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
place=${MOEC_KIT:-${TMPDIR:-/tmp}/moec-kit-$(id -u)}
root=$place/$(cat "$here/version")

plain() {
  if command -v xz >/dev/null; then xz -dc "$1"
  else python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$1"
  fi
}
if [ ! -d "$root" ]; then
  (umask 077 && mkdir -p "$place")
  part=$(mktemp -d "$place/part-XXXXXX")
  plain "$here/moec.tar.xz" | tar -x -C "$part" --no-same-owner
  plain "$here/node.xz" >"$part/node"
  chmod +x "$part/node"
  mv "$part" "$root"
fi
if [ ! -O "$root" ]; then echo "$root belongs to another user: name a folder of your own in MOEC_KIT" >&2; exit 1; fi
PATH=$root:$PATH
export PATH
what=${1:-}
[ $# -eq 0 ] || shift
loader=$root/node_modules/tsx/dist/loader.mjs
case $what in
  moec) exec node "$root/dist/cli/main.js" "$@" ;;
  gpu) exec node --import "$loader" "$root/scripts/gpu/run.ts" "$@" ;;
  *) echo "usage: sh run moec ARGS..., or sh run gpu -o FOLDER [PART...]" >&2; exit 2 ;;
esac
