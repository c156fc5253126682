# Sourced by the scripts beside it: the cache folder, one process at a time, and several tries.

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${HEADWATER_CACHE:-$(dirname "$scripts")/.cache}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

# lock NAME waits until no other process holds NAME and holds it until this one ends, however it ends.
lock() {
	exec 9>"$cache/$1.lock"
	if command -v flock >/dev/null; then flock 9; fi
}

# try COMMAND... runs it up to three times. Its output goes to stderr: stdout is for the script's answer.
try() {
	local n
	for n in 1 2 3; do
		if "$@" >&2; then return; fi
		echo "try $n of 3 failed: $*" >&2
		sleep $((n * 3))
	done
	return 1
}

# fetch_archive LOCK NAME SHA256 COMMAND... runs the command with a folder as its last argument, into which it puts NAME, unless that is in the cache folder, and
# prints its path there.
fetch_archive() {
	local dir name=$2 sha256=$3
	lock "$1"
	shift 3
	if [ ! -e "$cache/$name" ]; then
		dir=$(mktemp -d "$cache/fetch-XXXXXX")
		trap "rm -rf '$dir'" EXIT
		try "$@" "$dir"
		echo "$sha256  $dir/$name" | sha256sum --check --quiet >&2
		mv "$dir/$name" "$cache/$name"
	fi
	echo "$cache/$name"
}

# npm_fetch LOCK NAME SHA256 PACKAGE is fetch_archive of a package of npm.
npm_fetch() {
	pack() { (cd "$2" && npm pack --silent "$1"); }
	fetch_archive "$1" "$2" "$3" pack "$4"
}

# go_install PROGRAM PACKAGE VERSION builds the program of a Go package into the cache folder, unless it is there, and prints its path.
go_install() {
	local bin=$cache/$1-$3/$1
	lock "$1"
	if [ ! -x "$bin" ]; then
		mkdir -p "$(dirname "$bin")"
		# GOBIN and a rename: a killed build leaves nothing that looks whole.
		try env GOBIN="$(dirname "$bin")/new" GOFLAGS=-mod=mod go install "$2@$3"
		mv "$(dirname "$bin")/new/$1" "$bin"
	fi
	echo "$bin"
}

# apt_install PROGRAM PACKAGE installs the package unless the program is there, and prints its path. A runlevel of 1 keeps what is installed
# from starting.
apt_install() {
	local PATH="$PATH:/usr/sbin:/usr/local/sbin"
	lock apt
	if ! command -v "$1" >/dev/null; then
		try apt-get -qq -o DPkg::Lock::Timeout=300 update
		try env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends "$2"
	fi
	command -v "$1"
}

# copy_jars NAME copies what NAME.pom.xml depends on into the cache folder, unless it is there, and prints that folder.
copy_jars() {
	local jars
	jars=$cache/$1-$(cksum <"$scripts/$1.pom.xml" | tr -d ' ')
	lock "$1"
	# The stamp is written last: without it the folder is what a killed run left.
	if [ ! -e "$jars/complete" ]; then
		rm -rf "$jars"
		try mvn -q -B -f "$scripts/$1.pom.xml" dependency:copy-dependencies "-DoutputDirectory=$jars"
		touch "$jars/complete"
	fi
	echo "$jars"
}
