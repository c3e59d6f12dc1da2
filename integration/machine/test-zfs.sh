#!/usr/bin/env bash
# Runs the tests that need real ZFS: in the test machine, on OpenZFS 2.3 and 2.4
# side by side, or right here if this host has ZFS.
#
# usage: test-zfs.sh [PACKAGE...]     default: every package below that has tests
# env:   ZFS_SERIES="2.3 2.4"         versions of the machine
#        ZFS_RUN=REGEXP               only these tests
#        ZFS_LIMIT=12m                of one guest, and of all tests in it
#        ANTIPODE_BIN=FILE            the daemon, for tests that run it
#        ZFS_ON_HOST=no               use the machine although the host has ZFS
#
# Tests whose name begins with TestTake run in a second round, when each version
# has left its streams in $ANTIPODE_ZFS_EXCHANGE.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
repository=$(cd "$here/../.." && pwd -P)
cd "$repository"
series=(${ZFS_SERIES:-2.3 2.4})
limit=${ZFS_LIMIT:-12m}
export CGO_ENABLED=0
work=$(mktemp -d)
pids=()
cleanup() {
	local pid
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	wait
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

compile() {
	local packages=("$@") package folder binary
	[ $# -gt 0 ] || packages=(./fsdrivers/zfs/... ./integration/zfs/... ./integration/machine/smoke)
	mkdir -p "$work/bin" "$work/exchange"
	while read -r package folder; do
		binary=$work/bin/$(tr / _ <<<"$package").test
		nice -n 10 go test -c -tags zfs -ldflags=-s -o "$binary" "$package"
		echo "$folder $binary" >>"$work/bin/list"
	done < <(go list -tags zfs -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}' "${packages[@]}" 2>/dev/null)
	[ -s "$work/bin/list" ] || { echo "test-zfs: no tests in ${packages[*]}" >&2; exit 1; }
	cp "$here/inside.sh" "$work/bin/"
	[ -z "${ANTIPODE_BIN:-}" ] || cp "$ANTIPODE_BIN" "$work/bin/antipode"
}

on_host() {
	local s pool
	for s in src dst; do
		pool=antipode-$s-$$
		truncate -s 4G "$work/$s"
		zpool create -o cachefile=none -O mountpoint="/$pool" "$pool" "$work/$s"
	done
	local status=0
	ANTIPODE_ZFS_SRC=antipode-src-$$ ANTIPODE_ZFS_DST=antipode-dst-$$ ANTIPODE_BIN=$work/bin/antipode \
		ANTIPODE_ZFS_SERIES=$(zfs version | sed -n 's/^zfs-\([0-9]*\.[0-9]*\).*/\1/p') \
		bash "$work/bin/inside.sh" "$work/bin/list" -test.v "-test.timeout=$limit" "-test.run=${ZFS_RUN:-.}" -test.skip=^TestTake || status=$?
	for s in src dst; do zpool destroy -f "antipode-$s-$$" || status=1; done
	return $status
}

# round TEST_FLAG...: every version at once, each line marked with its version.
round() {
	local s pid status=0
	pids=()
	for s in "${series[@]}"; do
		"$work/run" -recipe "$here" -zfs "$s" -limit "$limit" -memory 3072 -read "$repository" -read "$work/bin" -share "$work/exchange" \
			-env "ANTIPODE_BIN=$work/bin/antipode" -env "ANTIPODE_ZFS_EXCHANGE=$work/exchange" -env CI=true \
			-- bash "$work/bin/inside.sh" "$work/bin/list" "-test.timeout=$limit" "$@" \
			> >(exec sed -u "s/^/[$s] /") 2> >(exec sed -u "s/^/[$s] /" >&2) &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
	pids=()
	return $status
}

compile "$@"
if [ "${ZFS_ON_HOST:-}" != no ] && [ -e /dev/zfs ] && command -v zpool >/dev/null; then
	on_host
	exit
fi
go build -o "$work/run" ./integration/machine/run
"$here/build.sh" >/dev/null
status=0
round -test.v "-test.run=${ZFS_RUN:-.}" -test.skip=^TestTake || status=$?
[ ${#series[@]} -lt 2 ] || [ $status -ne 0 ] || round -test.v -test.run=^TestTake || status=$?
exit $status
