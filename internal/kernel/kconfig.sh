# Makes the image that kernels are configured in: of the prepared source just what Kconfig reads, with its
# menus and our query program built. In: $PREPARE, $SUBSET and $INSTALL (scripts), KARCH, CROSS_COMPILE.
set -eu
eval "$PREPARE"
prepare
sh -euc "$SUBSET" subset /build/src/tree /kconfig
cd /kconfig
sh -euc "$INSTALL" install /config/query.c
mkdir /kconfig-obj /tmp/try
kmake() { make -s O=/kconfig-obj "ARCH=$KARCH" "CROSS_COMPILE=$CROSS_COMPILE" "$@"; }
: > /tmp/try/in
kmake QUERY_ARGS="/tmp/try/in /tmp/try/config /tmp/try/defconfig /tmp/try/symbols" hookbuild_queryconfig
kmake build_menuconfig build_nconfig
rm -r /tmp/try
