#!/usr/bin/env bash
# Runs test binaries one after the other, in the test machine or on a host that
# has ZFS. Called by test.sh. In the machine no test has a reason to skip.
# usage: inside.sh LIST TEST_FLAG...    a line of LIST: FOLDER BINARY
set -uo pipefail
list=$1
shift
failed=()
out=$(mktemp)
while read -r folder binary; do
	names=$("$binary" -test.list . 2>/dev/null)
	[ -n "$names" ] || continue
	started=$SECONDS
	result=ok
	(cd "$folder" && exec "$binary" "$@" </dev/null) | tee "$out" || result=FAIL
	if [ "${ANTIPODE_MACHINE:-}" = 1 ] && grep -q '^ *--- SKIP' "$out"; then
		echo "skipped in the machine, where nothing is missing:" $(sed -n 's/^ *--- SKIP: //p' "$out")
		result=FAIL
	fi
	[ $result = ok ] || failed+=("$folder")
	echo "$result ${folder##*/antipode/} $((SECONDS - started))s"
done <"$list"
rm "$out"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
