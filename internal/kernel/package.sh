# Takes Debian's binary kernel apart: /debs/*.deb in, LinuxKit's kernel image in /out.
set -eu
root=/tmp/root
mkdir "$root"
for deb in /debs/*.deb; do
	dpkg-deb -x "$deb" "$root"
done
cd "$root"
set -- boot/vmlinuz-*
[ $# = 1 ] && [ -e "$1" ] || { echo "want one boot/vmlinuz-* in the packages, got: $*" >&2; exit 1; }
release=${1#boot/vmlinuz-}
mods=/tmp/mods
mkdir -p "$mods/lib"
if [ -d usr/lib/modules ]; then mv usr/lib/modules "$mods/lib/"; else mv lib/modules "$mods/lib/"; fi
rm -f "$mods/lib/modules/$release/build" "$mods/lib/modules/$release/source"
depmod -b "$mods" "$release" # what the package's postinst would have made
tar -C "$mods" --sort=name --mtime="@$EPOCH" --owner=0 --group=0 --numeric-owner -cf /out/kernel.tar .
cp "boot/vmlinuz-$release" /out/kernel
cp "boot/System.map-$release" /out/System.map
cp "boot/config-$release" /out/config
dtbs=usr/lib/linux-image-$release
[ -d "$dtbs" ] || { dtbs=/tmp/dtbs; mkdir -p "$dtbs"; }
tar -C "$dtbs" --sort=name --mtime="@$EPOCH" --owner=0 --group=0 --numeric-owner -cf - . | gzip -9n > /out/dtbs.tar.gz
chmod 0644 /out/*
echo "kernel $release"
