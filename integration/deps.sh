#!/usr/bin/env bash
# Installs the Debian packages that the demo and the tests call, if they are
# missing and this machine lets us; says in one sentence what is missing if not.
# With "wan" also those that make bench-wan compares with.
set -eu
missing=()
programs=(btrfs:btrfs-progs mkfs.btrfs:btrfs-progs losetup:mount)
[ "${1:-}" = wan ] && programs+=(ssh:openssh-client sshd:openssh-server mbuffer:mbuffer nsenter:util-linux ip:iproute2)
for pair in "${programs[@]}"; do
	PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring) # the test machine is built from Debian's packages
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "missing: ${missing[*]}; install these packages, or run this as root on a Debian machine" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
