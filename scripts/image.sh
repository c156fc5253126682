#!/usr/bin/env bash
# Builds the image with buildah: image.sh [NAME], by default localhost/headwater:dev, into the storage of scripts/podman.sh. Prints its size and how long it
# takes to start, and last its name. With BUILD_IMAGE, which names an image with the Go toolchain, the program is built in it; without, on this machine, which
# needs no registry.
set -euo pipefail
. "$(dirname "$0")/cache.sh"
name=${1:-localhost/headwater:dev}

"$scripts/setup-podman.sh" >/dev/null
# Two builds at a time would have one name.
lock image
cd "$scripts/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build() { CONTAINERS_CONF=$scripts/containers.conf buildah --root "$cache/containers" --storage-driver vfs bud --isolation chroot --layers=false --quiet --format oci -t "$name" "$@" >/dev/null; }
if [ -n "${BUILD_IMAGE:-}" ]; then
	build --build-arg "BUILD_IMAGE=$BUILD_IMAGE" -f Containerfile .
else
	deploy/image/root.sh "$work/out"
	# The last stage, with what was made here for what the first would have made.
	sed -n -e '/^FROM scratch/,$p' Containerfile | sed -e 's,--from=build /out/,out/,' >"$work/Containerfile"
	build -f "$work/Containerfile" "$work"
fi
made=$("$scripts/podman.sh" create --network none --read-only --read-only-tmpfs=false --cap-drop ALL --user 123456 "$name" version)
"$scripts/podman.sh" image prune --force >/dev/null # what had the name before
began=$(date +%s%N)
"$scripts/podman.sh" start --attach "$made" >&2
ended=$(date +%s%N)
"$scripts/podman.sh" rm "$made" >/dev/null
bytes=$("$scripts/podman.sh" image inspect --format '{{.Size}}' "$name")
echo "image $name: $((bytes / 1000000)) MB, started, said its version and ended in $(((ended - began) / 1000000)) ms" >&2
echo "$name"
