#!/usr/bin/env bash
# Prints the path of the emulator of Pub/Sub, which is part of Google's SDK and installed with apt where its packages are known.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

sdk=/usr/lib/google-cloud-sdk
PATH="$PATH:${CLOUDSDK_ROOT_DIR:-$sdk}/platform/pubsub-emulator/bin:$sdk/platform/pubsub-emulator/bin"
apt_install cloud-pubsub-emulator google-cloud-cli-pubsub-emulator
