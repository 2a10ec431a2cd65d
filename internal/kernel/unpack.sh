# Fills the build tree /build/src from Debian's linux-source package, once; a killed run starts anew.
if [ ! -e /build/unpacked ]; then
	rm -rf /build/src /build/obj /build/deb
	mkdir -p /build/src /build/obj
	dpkg-deb -x /debs/*.deb /build/deb
	echo "unpacking the kernel source"
	tar -C /build/src --strip-components=1 -xf /build/deb/usr/src/linux-source-*.tar.xz
	rm -rf /build/deb
	# smee and EKS Anywhere pass more on the command line than 2048 characters (proxy lists, certificates).
	setup=/build/src/arch/x86/include/asm/setup.h
	sed -i 's/^#define COMMAND_LINE_SIZE 2048$/#define COMMAND_LINE_SIZE 4096/' $setup
	grep -q '^#define COMMAND_LINE_SIZE 4096$' $setup || { echo "COMMAND_LINE_SIZE not found in $setup" >&2; exit 1; }
	touch /build/unpacked
fi
