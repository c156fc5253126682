#!/usr/bin/env bash
# Fetches Hive's metastore, 3.1.3 (27 MB) or 4.0.1 (79 MB), and Hadoop's jars (60 MB) into the cache folder, unless they are there, and prints its folder: lib has
# all jars, metastore_db is a Derby with the tables made, of which every server takes a copy.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

version=$1
case $version in
3.*) artifact=hive-standalone-metastore tool=org.apache.hadoop.hive.metastore.tools.MetastoreSchemaTool ;;
4.*) artifact=hive-standalone-metastore-server tool=org.apache.hadoop.hive.metastore.tools.schematool.MetastoreSchemaTool ;;
*) echo "setup-hms.sh: no metastore of version $version is known: 3.1.3, 4.0.1" >&2 && exit 2 ;;
esac

# init HOME makes the tables, anew after a try that failed.
init() {
	rm -rf "$1/metastore_db"
	(cd "$1" && METASTORE_HOME=$1 METASTORE_CONF_DIR=$1/conf java -Xmx256m -XX:+UseSerialGC -cp "$1/conf:$1/lib/*" \
		--add-opens java.base/java.net=ALL-UNNAMED --add-opens java.base/java.lang=ALL-UNNAMED "$tool" -dbType derby -initSchema)
}

jars=$(copy_jars hms)
home=$cache/hms-$version
lock "hms-$version"
if [ ! -e "$home/complete" ]; then
	dir=$(mktemp -d "$cache/fetch-XXXXXX")
	trap "rm -rf '$dir'" EXIT
	try mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy "-Dartifact=org.apache.hive:$artifact:$version:tar.gz:bin" "-DoutputDirectory=$dir"
	tar -xzf "$dir/$artifact-$version-bin.tar.gz" -C "$dir"
	made=$dir/apache-hive-metastore-$version-bin
	ln -f "$jars"/*.jar "$made/lib/"
	cat >"$made/conf/metastore-site.xml" <<-END
		<configuration>
		<property><name>javax.jdo.option.ConnectionURL</name><value>jdbc:derby:;databaseName=metastore_db;create=true</value></property>
		<property><name>javax.jdo.option.ConnectionDriverName</name><value>org.apache.derby.jdbc.EmbeddedDriver</value></property>
		</configuration>
	END
	try init "$made"
	touch "$made/complete"
	rm -rf "$home"
	mv "$made" "$home"
fi
echo "$home"
