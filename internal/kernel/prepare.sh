# Fills /build/src/tree with the patched kernel source, once. Builds that share a source take turns here; a
# killed run starts anew. In: SOURCE (package, tarball or tree), /source, /files, /config/patches.
prepare() {
	cd /build/src || exit
	exec 9> lock
	flock 9
	if [ ! -e ready ]; then
		rm -rf tree deb
		mkdir tree
		unpack
		lengthen_command_line
		apply_patches
		touch ready
	fi
	exec 9>&-
	cd tree || exit
}

unpack() {
	echo "unpacking the kernel source"
	case $SOURCE in
	package)
		dpkg-deb -x /source/*.deb deb
		untar deb/usr/src/linux-source-*.tar.xz
		rm -rf deb
		;;
	tarball) untar "/files/$TARBALL" ;;
	tree) cp -a /source/. tree ;;
	esac
	if [ ! -e tree/Kbuild ] || [ ! -e tree/Kconfig ]; then
		echo "error: this is no kernel source: it has no Kbuild and no Kconfig at its top" >&2
		exit 1
	fi
}

untar() { XZ_OPT=-T0 tar -C tree --strip-components=1 --no-same-owner -xf "$1"; }

# smee and EKS Anywhere pass more on the command line than x86's 2048 characters (proxy lists, certificates).
lengthen_command_line() {
	setup=tree/arch/x86/include/asm/setup.h
	[ -e $setup ] || return 0
	sed -i 's/^#define COMMAND_LINE_SIZE 2048$/#define COMMAND_LINE_SIZE 4096/' $setup
	grep -q '^#define COMMAND_LINE_SIZE 4096$' $setup ||
		echo "warning: $setup has no COMMAND_LINE_SIZE of 2048 to make longer" >&2
}

apply_patches() {
	[ -e /config/patches ] || return 0
	while read -r sum name; do
		echo "applying $name"
		[ -s "/files/$sum" ] || { echo "error: $name: the patch is empty" >&2; exit 1; }
		patch -d tree -p1 -F0 -N -f --no-backup-if-mismatch < "/files/$sum" > said 2>&1 || {
			echo "error: $name: the patch does not apply to this source:" >&2
			cat said >&2
			exit 1
		}
	done < /config/patches
}
