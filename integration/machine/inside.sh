#!/usr/bin/env bash
# Runs test binaries one after the other, in the test machine or on a host that
# has ZFS. Called by test.sh.
# usage: inside.sh LIST TEST_FLAG...    a line of LIST: FOLDER BINARY [TESTS]
set -u
list=$1
shift
failed=()
# From a folder that the machine shares with its host nothing can be run.
near=$(mktemp -d)
trap 'rm -rf "$near"' EXIT
if [ -e "${ANTIPODE_BIN:-}" ]; then
	cp "$ANTIPODE_BIN" "$near/antipode"
	export ANTIPODE_BIN=$near/antipode
fi
while read -r folder shared only; do
	binary=$near/${shared##*/}
	cp "$shared" "$binary"
	names=$("$binary" -test.list . 2>/dev/null)
	[ -n "$names" ] || continue # it goes with the folder
	started=$SECONDS
	if (cd "$folder" && exec "$binary" "$@" ${only:+-test.run="$only"} </dev/null); then
		echo "ok   ${folder##*/antipode/} $((SECONDS - started))s"
	else
		failed+=("$folder")
		echo "FAIL $folder $((SECONDS - started))s"
	fi
	rm "$binary"
done <"$list"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
