#!/usr/bin/env bash
# Installs RabbitMQ with apt, unless it is there, and prints the folder of its programs.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

dirname "$(apt_install /usr/lib/rabbitmq/bin/rabbitmq-server rabbitmq-server)"
