#!/usr/bin/env bash
# Fetches the jars of a Kafka broker into the cache folder, unless they are there, and prints the folder.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

wanted=$(cksum <"$scripts/kafka.pom.xml" | tr -d ' ')
jars=$cache/kafka-$wanted

lock kafka
# The stamp is written last: without it the folder is what a killed run left.
if [ ! -e "$jars/complete" ]; then
	rm -rf "$jars"
	try mvn -q -B -f "$scripts/kafka.pom.xml" dependency:copy-dependencies "-DoutputDirectory=$jars"
	touch "$jars/complete"
fi
echo "$jars"
