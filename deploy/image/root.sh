#!/usr/bin/env bash
# Makes the root file system of the image in a folder: root.sh DIR. HEADWATER_BIN is a static program that is built already.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."

authorities=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [ ! -s "$authorities" ]; then
	echo "$authorities is missing: install ca-certificates, or have SSL_CERT_FILE name the authorities that the image is to trust" >&2
	exit 1
fi
mkdir -p "$out/etc/ssl/certs" "$out/usr/share" "$out/data"
cp "$authorities" "$out/etc/ssl/certs/ca-certificates.crt"
cp "$(go env GOROOT)/lib/time/zoneinfo.zip" "$out/usr/share/zoneinfo.zip"
if [ -n "${HEADWATER_BIN:-}" ]; then
	cp "$HEADWATER_BIN" "$out/headwater"
else
	# DuckDB is C++: all of it is linked in, its libraries too, because the image has none.
	CGO_ENABLED=1 go build -ldflags '-s -w -linkmode external -extldflags -static' -o "$out/headwater" ./cmd/headwater
fi
chmod 0755 "$out/headwater" "$out/etc" "$out/etc/ssl" "$out/etc/ssl/certs" "$out/usr" "$out/usr/share"
chmod 0644 "$out/etc/ssl/certs/ca-certificates.crt" "$out/usr/share/zoneinfo.zip"
chmod 0770 "$out/data" # of the group 0, which an arbitrary user is in
