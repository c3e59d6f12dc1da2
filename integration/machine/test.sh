#!/usr/bin/env bash
# Runs the tests that need what this host's kernel lacks in the test machine.
#
#	//go:build zfs        on each version of OpenZFS; on the host, if that has ZFS
#	//go:build machine    once, in a guest of its own: disks and modules may be used freely
#
# usage: test.sh [PACKAGE...]         default: all packages that have such tests
# env:   MACHINE_TAGS="zfs machine"   only tests with these build tags
#        MACHINE_RUN=REGEXP           only these tests
#        MACHINE_MINUTES=120          limit of a guest: what takes longer hangs
#        ZFS_SERIES="2.3 2.4"         versions of OpenZFS
#        ZFS_TURN=NUMBER             a part of them: what loses most if it breaks on one version, a sixth of the rest and a twelfth of
#                                     the contract's cases; others and elsewhere with another number; default all everywhere
#        ZFS_ON_HOST=no               use the machine although the host has ZFS
#        ANTIPODE_BIN=FILE            the daemon, for tests that run it
#
# All guests run side by side. Tests whose name begins with TestTake run in a
# second round, when each version has left its streams in $ANTIPODE_ZFS_EXCHANGE.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
repository=$(cd "$here/../.." && pwd -P)
cd "$repository"
tags=(${MACHINE_TAGS:-zfs machine})
series=(${ZFS_SERIES:-2.3 2.4})
minutes=${MACHINE_MINUTES:-120}
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

# compile TAG PACKAGE...: into $work/bin, with a line "FOLDER BINARY [TESTS]" for each in $work/bin/TAG.
compile() {
	local tag=$1 package folder binary
	shift
	: >"$work/bin/$tag"
	while read -r package folder; do
		grep -qsx "//go:build $tag" "$folder"/*_test.go || continue
		binary=$work/bin/$tag-$(tr / _ <<<"$package").test
		nice -n 10 go test -c -tags "$tag" -ldflags=-s -o "$binary" "$package"
		echo "$folder $binary" >>"$work/bin/$tag"
	done < <(go list -tags zfs,machine -f '{{.ImportPath}} {{.Dir}}' "$@")
}

# What loses most if it breaks is in each turn, on one version: resume, crash, fencing, keys, the gate. Neighbours here
# are on different ones, which so have as much to do.
loses_most=(TestStandbyIsIdenticalThenPrimary TestCopyGoesOnByTokenAfterCutsAndKills TestInterruptedTwentyTimes
	TestCopySurvivesKillsAndCutsAtRandomMoments TestRawRoundTrip TestDamagedStreamsLeaveNothingBehind
	TestAReceiveThatWasJustKilledIsNoDeadEnd TestRealStreamsThatWereNotPlannedNeverReachTheKernel)

# turns_of TEST: in how many turns the test is once on each version; 0: in all turns on all; no: in none.
turns_of() {
	case $1 in
	*/smoke/TestPoolsAndVersion | */TestContractOn* | */TestOffer*) echo 0 ;;
	*/TestTake* | */TestReceiveAndDie | */TestAsUser) echo no ;; # the second round's, and what tests start
	*/TestTwoHundredDatasets) echo no ;;                         # minutes
	*) echo $((6 * ${#series[@]})) ;;
	esac
}

# take_turns: of the tests with the tag zfs a list for each version. Neighbours with as many turns follow one another.
take_turns() {
	local i folder binary name turns turn seen=0
	local -A mine=() place=()
	for i in "${!loses_most[@]}"; do
		name=${loses_most[$i]}
		place[$name]=$i
		grep -rqs --include='*_test.go' "^func $name(" integration || { echo "test.sh: there is no $name any more" >&2; exit 1; }
	done
	while read -r folder binary; do
		while read -r name; do
			turns=$(turns_of "$folder/$name")
			[ "$turns" != no ] || continue
			if [ -n "${place[$name]:-}" ]; then
				turns=${#series[@]}
				turn=$(((place[$name] + ZFS_TURN) % turns))
				unset "place[$name]"
			elif [ "$turns" -gt 0 ]; then
				turn=$(((seen++ + ZFS_TURN) % turns))
			fi
			for i in "${!series[@]}"; do
				[ "$turns" -eq 0 ] || [ $turn -eq "$i" ] || continue
				mine[$i $folder $binary]+=${mine[$i $folder $binary]:+|}$name
			done
		done < <(grep -lx '//go:build zfs' "$folder"/*_test.go | xargs sed -n 's/^func \(Test[A-Za-z0-9_]*\)(t \*testing.T).*/\1/p' | sort)
	done <"$work/bin/zfs"
	for i in "${!series[@]}"; do
		while read -r folder binary; do
			name=${mine[$i $folder $binary]:-}
			[ -z "$name" ] || echo "$folder $binary ^($name)\$"
		done <"$work/bin/zfs" >"$work/bin/zfs-${series[$i]}"
	done
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
		bash "$work/bin/inside.sh" "$work/bin/zfs" -test.v "-test.timeout=${minutes}m" "-test.run=${MACHINE_RUN:-.}" -test.skip=^TestTake || status=$?
	for s in src dst; do zpool destroy -f "antipode-$s-$$" || status=1; done
	return $status
}

# guest NAME SERIES TAG TEST_FLAG...: starts one in the background. Each line of its output gets its name.
guest() {
	local name=$1 version=$2 tag=$3
	shift 3
	"$work/run" -recipe "$here" -zfs "$version" -limit "$((minutes + 3))m" -memory 3072 \
		-read "$repository" -read "$work/bin" -share "$work/exchange" \
		-env "ANTIPODE_BIN=$work/bin/antipode" -env "ANTIPODE_ZFS_EXCHANGE=$work/exchange" -env "CI=${CI:-}" -env "ANTIPODE_TURN=${ZFS_TURN:-}" \
		-env "ANTIPODE_KILLS=${ANTIPODE_KILLS:-}" \
		-- bash "$work/bin/inside.sh" "$work/bin/$tag" -test.v "-test.timeout=${minutes}m" "$@" \
		> >(sed -u "/^=== [^R]/d; s/^/[$name] /" | tee -a "$work/out") 2> >(exec sed -u "s/^/[$name] /" >&2) &
	pids+=($!)
}

# finish waits for all guests; it fails if one did, or if a test was skipped: nothing that it could miss is missing there.
finish() {
	local pid status=0
	for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
	pids=()
	if grep -e '--- SKIP' "$work/out"; then
		echo "test.sh: in the machine no test has a reason to skip" >&2
		status=1
	fi
	return $status
}

mkdir -p "$work/bin" "$work/exchange"
: >"$work/out"
for tag in "${tags[@]}"; do compile "$tag" "${@:-./...}"; done
cp "$here/inside.sh" "$work/bin/"
[ -z "${ANTIPODE_BIN:-}" ] || cp "$ANTIPODE_BIN" "$work/bin/antipode"
cat "${tags[@]/#/$work/bin/}" | grep -q . || { echo "test.sh: no tests with build tag ${tags[*]} in ${*:-./...}" >&2; exit 1; }
status=0
if [ -s "$work/bin/zfs" ] && [ "${ZFS_ON_HOST:-}" != no ] && [ -e /dev/zfs ] && command -v zpool >/dev/null; then
	on_host || status=$?
	rm "$work/bin/zfs"
fi
[ -s "$work/bin/zfs" ] || [ -s "$work/bin/machine" ] || exit $status
go build -o "$work/run" ./integration/machine/run
"$here/build.sh" >/dev/null
only=(-test.run="${MACHINE_RUN:-.}" -test.skip=^TestTake)
if [ -s "$work/bin/zfs" ]; then
	if [ -n "${ZFS_TURN:-}" ] && [ -z "${MACHINE_RUN:-}" ]; then take_turns; fi
	for s in "${series[@]}"; do
		list=zfs-$s
		[ -e "$work/bin/$list" ] || list=zfs
		guest "$s" "$s" "$list" "${only[@]}"
	done
fi
[ ! -s "$work/bin/machine" ] || guest machine "${series[-1]}" machine "${only[@]}"
finish || status=$?
if [ -s "$work/bin/zfs" ] && [ ${#series[@]} -ge 2 ] && [ $status -eq 0 ] && [[ TestTake =~ ${MACHINE_RUN:-.} ]]; then
	for s in "${series[@]}"; do guest "$s" "$s" zfs -test.run=^TestTake; done
	finish || status=$?
fi
exit $status
