# Compiles a kernel: the prepared source, /config/config (complete, as Kconfig wrote it) and the cached build
# tree /build/obj in, LinuxKit's kernel image in /out. Everything that would differ between two builds is
# pinned, so that what is compiled again and what is found in the tree or in ccache come out the same.
set -eu
eval "$PREPARE"
obj=/build/obj
[ -z "$CLEAN" ] || export CCACHE_DISABLE=1
# Of a build that was killed a file may be half written, and make would take it for finished.
if [ -n "$CLEAN" ] || [ -e $obj/unfinished ]; then find $obj -mindepth 1 -delete; fi
touch $obj/unfinished
trap 'rm -f $obj/unfinished' EXIT # which a kill does not run
prepare
export ARCH="$KARCH" CROSS_COMPILE CCACHE_DIR=/ccache CCACHE_MAXSIZE=8G "CCACHE_COMPILERCHECK=string:$TOOLCHAIN"
# What a file includes is taken from the compiler, which kbuild has list it; without this ccache preprocesses each
# file once more, which costs half of a first compilation.
export CCACHE_DEPEND=1
export KBUILD_BUILD_USER=hookbuild KBUILD_BUILD_HOST=hookbuild KBUILD_BUILD_VERSION=1
KBUILD_BUILD_TIMESTAMP=$(date -u -d "@$EPOCH")
export KBUILD_BUILD_TIMESTAMP
kmake() { make "O=$obj" -j"$(nproc)" "CC=ccache ${CROSS_COMPILE}gcc" "HOSTCC=ccache gcc" "$@"; }

case $KARCH in
x86_64) image=bzImage boot=x86 ;;
arm64) image=Image boot=arm64 ;;
*) echo "no image name known for $KARCH" >&2; exit 1 ;;
esac
enabled() { grep -q "^CONFIG_$1=y$" $obj/.config; }

cmp -s /config/config $obj/.config || cp /config/config $obj/.config
set -- "$image"
if enabled MODULES; then set -- "$@" modules; fi
if [ "$KARCH" = arm64 ]; then set -- "$@" dtbs; fi
kmake "$@" < /dev/null
release=$(cat $obj/include/config/kernel.release)
mods=/tmp/mods
mkdir -p $mods/lib/modules
if enabled MODULES; then
	kmake -s INSTALL_MOD_PATH=$mods INSTALL_MOD_STRIP=1 modules_install
	rm -f $mods/lib/modules/*/build $mods/lib/modules/*/source
fi
cmp -s /config/config $obj/.config || {
	echo "error: the build changed its configuration:" >&2
	diff /config/config $obj/.config >&2 || true
	exit 1
}

# sign does what modules_install does where the kernel signs its modules.
sign() {
	enabled MODULE_SIG_ALL || return 0
	hash=$(sed -n 's/^CONFIG_MODULE_SIG_HASH="\(.*\)"$/\1/p' $obj/.config)
	key=$(sed -n 's/^CONFIG_MODULE_SIG_KEY="\(.*\)"$/\1/p' $obj/.config)
	case $key in /*) ;; *) key=$obj/$key ;; esac
	$obj/scripts/sign-file "$hash" "$key" $obj/certs/signing_key.x509 "$1"
}

# external NAME FILE [make's arguments]: a module that is not in the kernel's source. With arguments its own
# Makefile is called, else kbuild's.
external() {
	name=$1 dir=/tmp/external/$1 file=/files/$2
	shift 2
	echo "compiling the external module $name"
	mkdir -p "$dir"
	tar -C "$dir" --no-same-owner -xf "$file"
	# Tarballs have one directory at their top, and the sources in there or in src.
	[ "$(find "$dir" -mindepth 1 -maxdepth 1 | wc -l)" != 1 ] || dir=$(find "$dir" -mindepth 1 -maxdepth 1)
	[ -e "$dir/Kbuild" ] || [ -e "$dir/Makefile" ] || dir=$dir/src
	if [ $# = 0 ]; then
		# Intel's drivers (ice and its kin) look at the kernel's headers before kbuild may compile them.
		if [ -e "$dir/kcompat-generator.sh" ]; then
			(cd "$dir" && KSRC=/build/src/tree CONFFILE=$obj/include/generated/autoconf.h OUT=kcompat_generated_defs.h \
				bash ./kcompat-generator.sh)
		fi
		kmake "M=$dir" "KBUILD_EXTRA_SYMBOLS=$symvers" modules < /dev/null
	else
		make -C "$dir" -j"$(nproc)" "KSRC=$obj" "KDIR=$obj" "KERNELDIR=$obj" "KERNEL_SRC=$obj" "KVER=$release" "KBUILD_EXTRA_SYMBOLS=$symvers" \
			"$@" < /dev/null
	fi
	# Those that come later may use its symbols.
	[ ! -e "$dir/Module.symvers" ] || symvers="$symvers $dir/Module.symvers"
	to=$mods/lib/modules/$release/updates/$name
	mkdir -p "$to"
	find "$dir" -name '*.ko' -exec cp {} "$to" \;
	set -- "$to"/*.ko
	[ -e "$1" ] || { echo "error: $name: its build made no module" >&2; exit 1; }
	for ko; do
		"${CROSS_COMPILE}strip" --strip-debug "$ko"
		sign "$ko"
	done
}

symvers=
for wanted in /config/external/*/; do
	[ -e "$wanted" ] || break
	set -- "$(cat "$wanted/name")" "$(cat "$wanted/file")"
	while IFS= read -r arg; do set -- "$@" "$arg"; done < "$wanted/make"
	external "$@"
	depmod -b $mods -F $obj/System.map "$release"
done
if enabled MODULE_SIG && [ -e $obj/certs/signing_key.pem ]; then
	echo "warning: the modules are signed with a key that this build tree made for itself; another tree gives other bytes" >&2
fi

tree() { tar -C "$1" --sort=name --mtime="@$EPOCH" --owner=0 --group=0 --numeric-owner -cf - .; }
tree $mods > /out/kernel.tar
dtbs=/tmp/dtbs
mkdir $dtbs
if [ "$KARCH" = arm64 ]; then kmake -s INSTALL_DTBS_PATH=$dtbs dtbs_install; fi
tree $dtbs > /tmp/dtbs.tar
gzip -9n < /tmp/dtbs.tar > /out/dtbs.tar.gz
cp "$obj/arch/$boot/boot/$image" /out/kernel
cp $obj/System.map /out/System.map
cp $obj/.config /out/config
compiler=$("${CROSS_COMPILE}gcc" --version | sed -n '1s/[\\"]/\\&/gp;1p' | head -n 1)
printf '{\n  "release": "%s",\n  "compiler": "%s",\n  "config_sha256": "%s",\n  "spec": %s\n}\n' \
	"$release" "$compiler" "$(sha256sum < /out/config | cut -d' ' -f1)" "$(cat /config/spec.json)" > /out/metadata.json
chmod 0644 /out/*
times > /tmp/times # in a pipe it would be those of a shell of its own
echo "kernel $release, CPU time of all programs (user, system): $(tail -n 1 /tmp/times)"
