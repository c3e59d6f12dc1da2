#!/usr/bin/env bash
# Installs the rivals that `make bench` runs beside Antipode, if they are missing and
# this machine lets us. No sshd is left running: bench starts its own, on loopback,
# with keys of its own. Without a rival its figures are left out, and bench says so.
set -eu
missing=()
for pair in ssh:openssh-client sshd:openssh-server mbuffer:mbuffer; do
	PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "missing: ${missing[*]}; their figures will be left out" >&2
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # 1: no service is started
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
