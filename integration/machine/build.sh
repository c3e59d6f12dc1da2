#!/bin/bash
# Builds the test machine: Debian's cloud kernel, OpenZFS in two versions, an
# initramfs for each, and a QEMU that runs from its own folder. Prints the
# folder. The second call finds it and costs nothing.
#
# usage: build.sh [CACHE]     default ${XDG_CACHE_HOME:-$HOME/.cache}/antipode
# env:   MACHINE_MIRROR       Debian mirror; default: the host's own
#        MACHINE_KEEP=1       keeps the build root, about 1 GB
#
# Needs root (chroot), apt-get, dpkg-deb, tar, unshare. Nothing is installed on
# the host, its apt configuration and its /dev are not touched: packages are
# downloaded with apt folders of our own and unpacked without their scripts.
set -euo pipefail
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cache=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/antipode}

base=trixie                                    # kernel, tools, QEMU
declare -A suite=([2.3]=trixie [2.4]=trixie-backports) # where each OpenZFS series lives
series=(2.3 2.4)

recipe=$(cat "$here/build.sh" "$here/modules.sh" "$here/light.sh" "$here/init" | sha256sum | cut -c1-12)
die() { echo "machine: $*" >&2; exit 1; }
step() { echo "machine: [${SECONDS}s] $*" >&2; }

# Packages whose files go into the build root, and programs that go from there into the guest.
root_packages=(base-files bash dash coreutils sed grep gawk findutils diffutils gzip tar xz-utils zstd cpio make gcc
	libc6-dev bc kmod perl-base binutils btrfs-progs iproute2 iputils-ping dmsetup mount util-linux busybox-static openssl
	qemu-system-x86 virtiofsd)
guest_programs=(dash bash btrfs mkfs.btrfs ip ss tc ping openssl dmsetup losetup mount umount unshare nsenter setpriv
	blkdiscard cat head tail dd cp ls stat truncate sync sort seq wc df du timeout sha256sum find grep sed cmp tar) # the rest is busybox
zfs_programs=(zfs zpool zdb zstream mount.zfs)
guest_modules=(virtio_blk virtio_net virtio_console veth dummy bridge tun loop brd btrfs overlay dm-mod dm-flakey dm-delay
	dm-log-writes dm-snapshot dm-thin-pool sch_netem sch_tbf sch_htb sch_prio sch_fq_codel sch_ingress cls_u32 cls_matchall act_mirred ifb
	nf_tables)

prepare_apt() {
	local s p
	mkdir -p "$apt"/{lists/partial,cache/archives/partial,etc/parts,state}
	local key=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -e $key ] || die "no $key: install debian-archive-keyring"
	for s in $(printf '%s\n' "$base" "${suite[@]}" | sort -u); do
		echo "deb [signed-by=$key] $mirror $s main contrib"
	done >"$apt/etc/sources.list"
	printf 'Package: *\nPin: release n=*-backports\nPin-Priority: 100\n' >"$apt/etc/preferences"
	# What would only drag more in is declared installed.
	for p in python3 libpython3-stdlib initramfs-tools linux-base udev dkms lsb-release pahole adduser ipxe-qemu \
		init-system-helpers debconf tzdata media-types perl dracut file linux-libc-dev-cross dpkg-dev; do
		printf 'Package: %s\nStatus: install ok installed\nPriority: optional\nSection: misc\nMaintainer: none\nArchitecture: all\nMulti-Arch: foreign\nVersion: 9999:0\nDescription: stub\n\n' "$p"
	done >"$apt/state/status"
}

# own apt-get|apt-cache ...: runs it on our folders alone.
own() {
	local tool=$1
	shift
	"$tool" -o Dir::Etc::sourcelist="$apt/etc/sources.list" -o Dir::Etc::sourceparts="$apt/etc/parts" \
		-o Dir::Etc::preferences="$apt/etc/preferences" -o Dir::Etc::preferencesparts="$apt/etc/parts" \
		-o Dir::State="$apt/state" -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/state/status" \
		-o Dir::Cache="$apt/cache" -o Dir::Log="$apt" -o Acquire::Languages=none -o APT::Install-Recommends=0 \
		-o APT::Sandbox::User=root -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
		-o Acquire::Retries=3 "$@"
}

# version_in PACKAGE SUITE
version_in() {
	own apt-cache madison "$1" | awk -F'|' -v s="$2" '{gsub(/ /, "", $2)} $3 ~ (" " s "/") {print $2; exit}'
}

choose_versions() {
	local s found image
	for s in "${series[@]}"; do
		found=$(version_in zfs-dkms "${suite[$s]}")
		case $found in
		"$s".*) zfs[$s]=$found ;;
		*) die "OpenZFS $s is wanted from ${suite[$s]}, which has '${found:-none}': name another suite in $here/build.sh" ;;
		esac
		[ "$(version_in zfsutils-linux "${suite[$s]}")" = "$found" ] || die "zfs-dkms and zfsutils-linux differ in ${suite[$s]}"
	done
	image=$(own apt-cache depends "linux-image-cloud-amd64/$base" | awk '/Depends: linux-image-/ {print $2; exit}')
	kernel=${image#linux-image-}
	[ -n "$kernel" ] || die "no cloud kernel in $base"
}

download() {
	local s p
	local want=("${root_packages[@]}" "linux-headers-$kernel" "linux-image-$kernel")
	own apt-get -y -qq -d install "${want[@]}" >&2
	for p in "$apt"/cache/archives/*.deb; do common[${p##*/}]=1; done
	for s in "${series[@]}"; do
		# The libraries first: apt takes them from another suite only when told to, one by one.
		local version=${zfs[$s]} libs=()
		for p in $(own apt-cache depends "zfsutils-linux=$version" | awk '/ Depends: lib(zfs|zpool|nvpair|uutil)/ {print $2}'); do
			libs+=("$p=$version")
		done
		own apt-get -y -qq -d install "${want[@]}" "zfs-dkms=$version" "zfsutils-linux=$version" "${libs[@]}" >&2
	done
}

# unpack DEB FOLDER
unpack() {
	dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2" --exclude=./usr/share/doc \
		--exclude=./usr/share/man --exclude=./usr/share/locale -f -
}

skeleton() {
	local l
	mkdir -p "$1"/usr/{bin,sbin,lib,lib64}
	for l in bin sbin lib lib64; do ln -sfn usr/$l "$1/$l"; done
}

unpack_all() {
	local f s
	skeleton "$root"
	for s in "${series[@]}"; do skeleton "$work/zfs-$s"; done
	for f in "$apt"/cache/archives/*.deb; do
		case ${f##*/} in
		linux-image-*-unsigned_*) ;;
		*)
			if [ -n "${common[${f##*/}]:-}" ]; then
				unpack "$f" "$root"
				continue
			fi
			# Not wanted by the root alone: it came with one OpenZFS, or with both.
			for s in "${series[@]}"; do
				case $(dpkg-deb -f "$f" Version) in
				"${zfs[$s]}") unpack "$f" "$work/zfs-$s" ;;
				esac
			done
			case $(dpkg-deb -f "$f" Source Package) in *zfs-linux*) ;; *) unpack "$f" "$root" ;; esac
			;;
		esac
	done
	rm -rf "$apt/cache"
	mkdir -p "$root"/{proc,dev,tmp}
	local node
	for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9"; do # nodes of our own: the host's /dev stays out
		set -- $node
		mknod -m 666 "$root/dev/$1" c "$2" "$3"
	done
	ln -s /proc/self/fd "$root/dev/fd"
	[ -e "$root/usr/bin/awk" ] || ln -s gawk "$root/usr/bin/awk"
	[ -e "$root/usr/bin/cc" ] || ln -s gcc "$root/usr/bin/cc"
}

# inroot COMMAND...: runs it in the build root, with a /proc that only it sees.
inroot() {
	unshare -m --propagation private /bin/sh -c 'mount -t proc proc "$1/proc" && r=$1 && shift &&
		exec chroot "$r" /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C HOME=/tmp "$@"' sh "$root" "$@" 9>&-
}

# build_modules SERIES: into $cache/modules-..., so that a change of the guest does not compile ZFS again.
build_modules() {
	local s=$1 source
	local kept=$cache/modules-zfs-${zfs[$s]//[^0-9A-Za-z.+~-]/_}-linux-$kernel-$(sha256sum <"$here/modules.sh" | cut -c1-8)
	if [ ! -e "$kept/zfs.ko" ]; then
		source=$(echo "$work/zfs-$s"/usr/src/zfs-[0-9]*)
		cp -a "$source" "$root/zfs-$s"
		cp "$here/modules.sh" "$root/modules.sh"
		if ! inroot bash /modules.sh "/zfs-$s" "$kernel" "/modules-$s" >"$work/modules-$s.log" 2>&1; then
			tail -n 40 "$work/modules-$s.log" >&2
			cp "$work/modules-$s.log" "$cache/failed-modules-$s.log"
			die "OpenZFS ${zfs[$s]} does not build for Linux $kernel: see $cache/failed-modules-$s.log"
		fi
		grep -E '^(configure|make) ' "$work/modules-$s.log" | sed "s/^/machine:   OpenZFS $s: /" >&2
		mv "$root/modules-$s" "$kept.$$" && mv -T "$kept.$$" "$kept"
	fi
	mkdir -p "$work/modules-$s"
	cp "$kept"/*.ko "$work/modules-$s/"
}

build_both() {
	local s pids=() pid
	# Without debug info and BTF the modules build in half the time. Only what make reads is changed,
	# never autoconf.h: struct module depends on that one.
	sed -i '/^CONFIG_DEBUG_INFO/d' "$root/usr/src/linux-headers-$kernel/include/config/auto.conf"
	for s in "${series[@]}"; do
		build_modules "$s" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid" || die "the modules were not built"; done
}

# Takes the kernel out of its bzImage: QEMU enters it directly, and no decompressor runs under emulation.
# Offsets: Documentation/arch/x86/boot.rst, setup_sects 0x1f1, payload_offset 0x248, payload_length 0x24c.
extract_kernel() {
	local image=$root/boot/vmlinuz-$kernel
	u32() { od -An -tu4 -j"$1" -N4 "$image" | tr -d ' '; }
	local sectors
	sectors=$(od -An -tu1 -j$((0x1f1)) -N1 "$image" | tr -d ' ')
	dd if="$image" of="$root/payload" iflag=skip_bytes,count_bytes bs=1M status=none \
		skip=$(((sectors + 1) * 512 + $(u32 $((0x248))))) count="$(u32 $((0x24c)))"
	inroot sh -c 'zstd -qdc /payload >/vmlinux 2>/dev/null || [ -s /vmlinux ] || xz -qdc /payload >/vmlinux 2>/dev/null || true
		[ "$(od -An -c -j1 -N3 /vmlinux | tr -d " ")" = ELF ]' || die "vmlinuz-$kernel is packed in a way this recipe does not know"
}

triplet=usr/lib/x86_64-linux-gnu

# copy_libraries FILE INTO FROM...: the libraries FILE needs, and what those need, from the first of the trees that has them.
copy_libraries() {
	local file=$1 into=$2 name tree found
	shift 2
	for name in $(readelf_needed "$file"); do
		[ ! -e "$into/$name" ] || continue
		found=
		for tree in "$@"; do
			for found in "$tree/$triplet/$name" "$tree/usr/lib64/$name" ""; do [ ! -e "$found" ] || break 2; done
		done
		[ -n "$found" ] || die "library $name, which ${file##*/} needs, is in none of the packages"
		cp -L "$found" "$into/$name"
		copy_libraries "$found" "$into" "$@"
	done
}
readelf_needed() { # the host may have no readelf
	cp -L "$1" "$root/tmp/elf"
	chroot "$root" /usr/bin/readelf -d /tmp/elf 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'
}

# copy_program NAME GUEST FROM...
copy_program() {
	local name=$1 guest=$2 tree at dir
	shift 2
	for tree in "$@"; do
		for dir in sbin bin; do
			at=$tree/usr/$dir/$name
			[ -e "$at" ] || [ -L "$at" ] || continue
			at=$(readlink -f "$at")
			rm -f "$guest"/usr/{bin,sbin}/"$name"
			cp -L "$at" "$guest/usr/$dir/$name"
			copy_libraries "$at" "$guest/$triplet" "$guest" "$@"
			return
		done
	done
	die "program $name is in none of the packages"
}

build_guest() {
	local guest=$work/guest a
	skeleton "$guest"
	mkdir -p "$guest"/{proc,sys,dev,run,tmp,root,etc,var,mnt} "$guest/$triplet/tc"
	ln -s /run "$guest/var/run"
	ln -s /tmp "$guest/var/tmp"
	cp "$root/usr/bin/busybox" "$guest/usr/bin/"
	for a in $("$root/usr/bin/busybox" --list); do [ -e "$guest/usr/bin/$a" ] || ln -s busybox "$guest/usr/bin/$a"; done
	for a in "${guest_programs[@]}"; do copy_program "$a" "$guest" "$root"; done
	ln -sf dash "$guest/usr/bin/sh" # busybox's own shell prefers its own applets to $PATH
	cp -L "$root/$triplet/ld-linux-x86-64.so.2" "$guest/$triplet/"
	ln -s ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 "$guest/usr/lib64/ld-linux-x86-64.so.2"
	cp -L "$root/$triplet/libgcc_s.so.1" "$guest/$triplet/" # opened by pthread_exit: zfs aborts without it
	cp "$root/$triplet"/tc/*.dist "$guest/$triplet/tc/"     # netem's delay distributions
	# The kernel loads modules through /sbin/modprobe: without the real one "ip link add type veth" is an unknown type.
	rm -f "$guest/usr/bin/modprobe"
	cp "$root/usr/bin/kmod" "$guest/usr/sbin/modprobe"
	copy_libraries "$root/usr/bin/kmod" "$guest/$triplet" "$root"
	printf 'root:x:0:0:root:/root:/bin/sh\nantipode:x:1000:1000::/tmp:/bin/sh\n' >"$guest/etc/passwd"
	printf 'root:x:0:\nantipode:x:1000:\n' >"$guest/etc/group"
	printf 'passwd: files\ngroup: files\nhosts: files\n' >"$guest/etc/nsswitch.conf"
	echo '127.0.0.1 localhost machine' >"$guest/etc/hosts"
	: >"$guest/etc/resolv.conf"
	ln -s /proc/mounts "$guest/etc/mtab"
	cp "$here/init" "$guest/init"
	chmod 755 "$guest/init"
}

# copy_kernel_modules GUEST: with all they depend on, unpacked and without debug info.
copy_kernel_modules() {
	local guest=$1 m f
	mkdir -p "$guest/usr/lib/modules/$kernel"
	inroot depmod "$kernel" # the package's own script would have done it
	for m in "${guest_modules[@]}"; do
		inroot modprobe -S "$kernel" --show-depends "$m" 2>/dev/null >"$work/depends" || die "kernel $kernel has no module $m"
		awk '$1 == "insmod" {print $2}' "$work/depends"
	done | sort -u | while read -r f; do
		f=$(inroot readlink -f "$f")
		mkdir -p "$guest$(dirname "$f")"
		case $f in
		*.xz) inroot xz -dc "$f" >"$guest${f%.xz}" ;;
		*) cp "$root$f" "$guest$f" ;;
		esac
	done
	cp "$root/usr/lib/modules/$kernel"/modules.builtin* "$guest/usr/lib/modules/$kernel/"
	cp -a "$guest/usr/lib/modules/$kernel/kernel" "$root/tmp/kernel-modules"
	inroot find /tmp/kernel-modules -name '*.ko' -exec strip --strip-debug {} +
	rm -rf "$guest/usr/lib/modules/$kernel/kernel"
	mv "$root/tmp/kernel-modules" "$guest/usr/lib/modules/$kernel/kernel"
}

# pack SERIES: the guest with one OpenZFS in it.
pack() {
	local s=$1 p
	local guest=$root/guest-$s
	cp -a "$work/guest" "$guest"
	for p in "${zfs_programs[@]}"; do copy_program "$p" "$guest" "$work/zfs-$s" "$root"; done
	cp "$here/light.sh" "$root/light.sh"
	inroot bash /light.sh "/guest-$s/$triplet"
	mkdir -p "$guest/usr/lib/modules/$kernel/extra"
	cp "$work/modules-$s"/*.ko "$guest/usr/lib/modules/$kernel/extra/"
	inroot depmod -b "/guest-$s" "$kernel" 2>/dev/null # it misses modules.order, which only orders aliases
	inroot sh -c "cd /guest-$s && find . -print0 | sort -z | cpio --null -o -H newc --quiet --owner=0:0 >/initrd-$s.cpio"
	mv "$root/initrd-$s.cpio" "$out/initrd-$s.cpio"
	rm -rf "$guest"
}

# QEMU and virtiofsd with their libraries and loader: they run from here, and the host needs no package.
copy_qemu() {
	local b f at
	mkdir -p "$out"/qemu/{bin,lib,mod,fw}
	for b in "$root/usr/bin/qemu-system-x86_64" "$root/usr/libexec/virtiofsd" "$root/$triplet"/qemu/accel-*x86_64*.so; do
		[ -e "$b" ] || continue
		case $b in *.so) cp "$b" "$out/qemu/mod/" ;; *) cp "$b" "$out/qemu/bin/" ;; esac
		copy_libraries "$b" "$out/qemu/lib" "$root"
	done
	cp -L "$root/$triplet/ld-linux-x86-64.so.2" "$root/$triplet/libgcc_s.so.1" "$out/qemu/lib/"
	for f in bios-256k.bin pvh.bin linuxboot_dma.bin kvmvapic.bin; do
		at=$(find "$root/usr/share/qemu" "$root/usr/share/seabios" -name $f 2>/dev/null | head -n 1)
		[ -z "$at" ] || cp -L "$at" "$out/qemu/fw/"
	done
}

finished() { # prints the folder if this recipe has been built
	local dir
	for dir in "$cache"/machine-"$recipe"-*/; do
		[ -e "$dir/versions" ] || continue
		echo "${dir%/}"
		return 0
	done
	return 1
}

finished && exit 0
[ "$(id -u)" = 0 ] || die "building the test machine needs root, for chroot; or copy a built $cache/machine-$recipe-* here"
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P)
exec 9>"$cache/machine.lock"
flock 9 # a second builder waits here, and then finds what the first has built
finished && exit 0
renice -n 10 $$ >/dev/null

mirror=${MACHINE_MIRROR:-$(apt-get indextargets --format '$(SITE) $(ORIGIN) $(COMPONENT)' |
	awk '$2 == "Debian" && $3 == "main" && $1 !~ /security/ {print $1; exit}')}
[ -n "$mirror" ] || { echo "build.sh: this host names no Debian mirror; set MACHINE_MIRROR" >&2; exit 1; }
work=$(mktemp -d "$cache/building.XXXXXX")
trap '[ "${MACHINE_KEEP:-}" = 1 ] || rm -rf --one-file-system "$work"' EXIT
apt=$work/apt root=$work/root out=$work/out
declare -A zfs common
mkdir -p "$out" "$root"

step "reading the package lists of $mirror"
prepare_apt
own apt-get -qq update >&2
choose_versions
step "Linux $kernel, OpenZFS ${zfs[*]}"
download
step "downloaded $(du -sm "$apt/cache/archives" | cut -f1) MB"
unpack_all
step "unpacked $(du -sm "$root" | cut -f1) MB; building the modules"
build_both
step "modules built; packing"
extract_kernel
build_guest
copy_kernel_modules "$work/guest"
for s in "${series[@]}"; do pack "$s"; done
copy_qemu
mv "$root/vmlinux" "$out/"
{
	echo "linux $kernel"
	for s in "${series[@]}"; do echo "zfs $s ${zfs[$s]}"; done
	echo "qemu $("$out/qemu/lib/ld-linux-x86-64.so.2" --library-path "$out/qemu/lib" "$out/qemu/bin/qemu-system-x86_64" --version |
		sed -n '1s/.*version \([0-9.]*\).*/\1/p')"
} >"$out/versions"
dir=$cache/machine-$recipe-linux-$kernel
for s in "${series[@]}"; do dir+=-zfs-$(echo "${zfs[$s]}" | sed 's/[^0-9.].*//'); done
mv -T "$out" "$dir"
step "done, $(du -sm "$dir" | cut -f1) MB"
echo "$dir"
