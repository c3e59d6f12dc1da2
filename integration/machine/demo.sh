#!/usr/bin/env bash
# Shows the demo on ZFS: in the test machine, or right here if this host has ZFS.
# usage: demo.sh ANTIPODE
# env:   ZFS_SERIES=2.4     version of the machine
#        ZFS_ON_HOST=no     use the machine although the host has ZFS
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cd "$here/../.."
export CGO_ENABLED=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
go build -o "$work/demo" ./integration/demo
cp "$1" "$work/antipode"
if [ "${ZFS_ON_HOST:-}" != no ] && [ -e /dev/zfs ] && command -v zpool >/dev/null; then
	"$work/demo" -fs zfs -antipode "$work/antipode"
	exit
fi
columns=0
if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then columns=$(stty size </dev/tty 2>/dev/null | cut -d' ' -f2); fi
go build -o "$work/run" ./integration/machine/run
series=${ZFS_SERIES:-2.4}
echo "This machine's kernel has no ZFS: a small emulated one with OpenZFS ${series%% *} shows it, some 20 times slower."
"$work/run" -recipe "$here" -zfs "${series%% *}" -limit 12m -memory 3072 -read "$work" -env NO_COLOR \
	-- bash -c 'cp "$1" /tmp/antipode && cp "$2" /tmp/demo && exec /tmp/demo -fs zfs -antipode /tmp/antipode -terminal "$3"' demo "$work/antipode" "$work/demo" "${columns:-0}"
