#!/usr/bin/env bash
# Runs test binaries one after the other, in the test machine or on a host that
# has ZFS. Called by test.sh.
# usage: inside.sh LIST TEST_FLAG...    a line of LIST: FOLDER BINARY [TESTS]
set -u
list=$1
shift
failed=()
while read -r folder binary only; do
	names=$("$binary" -test.list . 2>/dev/null)
	[ -n "$names" ] || continue
	started=$SECONDS
	if (cd "$folder" && exec "$binary" "$@" ${only:+-test.run="$only"} </dev/null); then
		echo "ok   ${folder##*/antipode/} $((SECONDS - started))s"
	else
		failed+=("$folder")
		echo "FAIL $folder $((SECONDS - started))s"
	fi
done <"$list"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
