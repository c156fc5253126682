#!/usr/bin/env bash
# Fetches what Spark and Hive need to read s3a:// into the cache folder, unless it is there, and prints the folder.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

wanted=$(cksum <"$scripts/s3a.pom.xml" | tr -d ' ')
jars=$cache/s3a-$wanted

lock s3a
# The stamp is written last: without it the folder is what a killed run left.
if [ ! -e "$jars/complete" ]; then
	rm -rf "$jars"
	try mvn -q -B -f "$scripts/s3a.pom.xml" dependency:copy-dependencies "-DoutputDirectory=$jars"
	rm -f "$jars"/slf4j-api* "$jars"/netty-*.jar # Spark has its own
	touch "$jars/complete"
fi
echo "$jars"
