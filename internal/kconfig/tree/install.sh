# Puts query.c, which is $1, into the kernel tree that is the working directory, as a program that
# make hookbuild_queryconfig QUERY_ARGS="IN OUT_CONFIG OUT_DEFCONFIG OUT_SYMBOLS" builds and runs with the
# environment of menuconfig. The tree is a copy of ours: its scripts/kconfig/Makefile is added to.
set -eu
dir=scripts/kconfig
cp "$1" $dir/hookbuild-query.c
grep -q '^# hookbuild:' $dir/Makefile && exit 0
flags=
# 6.9 and later.
if grep -q 'const char \*filename;' $dir/expr.h; then flags=' -DQUERY_MENU_FILENAME'; fi
cat >> $dir/Makefile <<MAKE

# hookbuild: asks Kconfig what it makes of a configuration
hostprogs += hookbuild-query
hookbuild-query-objs := hookbuild-query.o \$(common-objs)
HOSTCFLAGS_hookbuild-query.o :=$flags
PHONY += hookbuild_queryconfig
hookbuild_queryconfig: \$(obj)/hookbuild-query
	\$(Q)\$< \$(QUERY_ARGS) \$(Kconfig)
MAKE
