# Compiles a kernel: /debs/*.deb (linux-source), /config/defconfig and the cached build tree /build in,
# LinuxKit's kernel image in /out. Everything that would differ between two builds is pinned.
set -eu
eval "$UNPACK"
export ARCH="$KARCH" CROSS_COMPILE
export KBUILD_BUILD_USER=hookbuild KBUILD_BUILD_HOST=hookbuild KBUILD_BUILD_VERSION=1
KBUILD_BUILD_TIMESTAMP=$(date -u -d "@$EPOCH")
export KBUILD_BUILD_TIMESTAMP
cd /build/src
obj=/build/obj
kmake() { make O=$obj -j"$(nproc)" "$@"; }

cp /config/defconfig $obj/.config
kmake -s olddefconfig
case $KARCH in
x86_64) image=bzImage boot=x86 ;;
arm64) image=Image boot=arm64 ;;
*) echo "no image name known for $KARCH" >&2; exit 1 ;;
esac
targets="$image modules"
[ "$KARCH" != arm64 ] || targets="$targets dtbs"
# shellcheck disable=SC2086 # a list of words
kmake $targets

mods=/tmp/mods
kmake -s INSTALL_MOD_PATH=$mods INSTALL_MOD_STRIP=1 modules_install
rm -f $mods/lib/modules/*/build $mods/lib/modules/*/source
tree() { tar -C "$1" --sort=name --mtime="@$EPOCH" --owner=0 --group=0 --numeric-owner -cf - .; }
tree $mods > /out/kernel.tar
dtbs=/tmp/dtbs
mkdir $dtbs
[ "$KARCH" != arm64 ] || kmake -s INSTALL_DTBS_PATH=$dtbs dtbs_install
tree $dtbs | gzip -9n > /out/dtbs.tar.gz
cp "$obj/arch/$boot/boot/$image" /out/kernel
cp $obj/System.map /out/System.map
cp $obj/.config /out/config
chmod 0644 /out/*
echo "kernel $(cat $obj/include/config/kernel.release)"
