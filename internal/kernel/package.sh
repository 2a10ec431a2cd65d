# Takes a kernel apart that was compiled elsewhere: packages (SOURCE=packages, /source/*.deb) or a directory
# (SOURCE=tree) in, LinuxKit's kernel image in /out.
set -eu
root=/source
if [ "$SOURCE" = packages ]; then
	root=/tmp/root
	mkdir "$root"
	for deb in /source/*.deb; do
		dpkg-deb -x "$deb" "$root"
	done
fi

# the_one WHAT PATTERN...: the one file that matches.
the_one() {
	what=$1
	shift
	found=
	for pattern; do
		for file in "$root"/$pattern; do
			[ -f "$file" ] || continue
			[ -z "$found" ] || { echo "$what: error: want one, got $found and ${file#"$root"/}" >&2; exit 1; }
			found=${file#"$root"/}
		done
	done
	[ -n "$found" ] || { echo "$what: error: there is none of: $*" >&2; exit 1; }
	echo "$found"
}

kernel=$(the_one "the kernel" 'boot/vmlinu[xz]-*' 'vmlinu[xz]-*' vmlinuz vmlinux bzImage Image Image.gz)
map=$(the_one System.map 'boot/System.map-*' 'System.map-*' System.map)
config=$(the_one "the configuration" 'boot/config-*' 'config-*' config .config)

mods=/tmp/mods
mkdir -p "$mods/lib/modules"
for dir in usr/lib/modules lib/modules; do
	[ ! -d "$root/$dir" ] || cp -a "$root/$dir/." "$mods/lib/modules/"
done
set -- "$mods"/lib/modules/*/
release=unknown
case $#:$1 in
*'/*/')
	case $kernel in *vmlinu[xz]-*) release=${kernel#*vmlinu[xz]-} ;; esac
	if grep -q '^CONFIG_MODULES=y' "$root/$config"; then echo "warning: a kernel with loadable modules comes without any" >&2; fi
	;;
1:*)
	release=$(basename "$1")
	rm -rf "$mods/lib/modules/$release/build" "$mods/lib/modules/$release/source"
	depmod -b "$mods" -F "$root/$map" "$release" # what the package's postinst would have made
	;;
*) echo "lib/modules: error: want the modules of one kernel, got: $*" >&2; exit 1 ;;
esac

# A user's directory has the modes of its umask.
chmod -R u=rwX,go=rX "$mods"
tree() { tar -C "$1" --sort=name --mtime="@$EPOCH" --owner=0 --group=0 --numeric-owner -cf - .; }
tree "$mods" > /out/kernel.tar
cp "$root/$kernel" /out/kernel
cp "$root/$map" /out/System.map
cp "$root/$config" /out/config
dtbs=$root/usr/lib/linux-image-$release
[ -d "$dtbs" ] || dtbs=$root/dtbs
mkdir /tmp/dtbs
[ ! -d "$dtbs" ] || cp -a "$dtbs/." /tmp/dtbs
chmod -R u=rwX,go=rX /tmp/dtbs
tree /tmp/dtbs > /tmp/dtbs.tar
gzip -9n < /tmp/dtbs.tar > /out/dtbs.tar.gz
compiler=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\(.*\)"$/\1/p' /out/config)
printf '{\n  "release": "%s",\n  "compiler": "%s",\n  "config_sha256": "%s",\n  "spec": %s\n}\n' \
	"$release" "$compiler" "$(sha256sum < /out/config | cut -d' ' -f1)" "$(cat /config/spec.json)" > /out/metadata.json
chmod 0644 /out/*
echo "kernel $release"
