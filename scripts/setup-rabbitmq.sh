#!/usr/bin/env bash
# Installs RabbitMQ with apt, unless it is there, and prints the folder of its programs.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

bin=/usr/lib/rabbitmq/bin
apt_install "$bin/rabbitmq-server" rabbitmq-server
echo "$bin"
