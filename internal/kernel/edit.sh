# Opens a menu, or a shell, on a kernel's configuration. In: /answers/in, $EDITOR_COMMAND (a config target, or
# shell); out: /answers/before.* and, where something was saved, /answers/after.*.
set -eu
query() {
	make -s -C /kconfig O=/kconfig-obj QUERY_ARGS="$1 $2.config $2.defconfig $2.symbols" hookbuild_queryconfig
}
echo "reading the configuration ..."
query /answers/in /answers/before
export KCONFIG_CONFIG=/answers/config
cp /answers/before.config $KCONFIG_CONFIG
cd /kconfig-obj
case $EDITOR_COMMAND in
shell)
	echo "The configuration is $KCONFIG_CONFIG; make menuconfig, nconfig, oldconfig and savedefconfig work here. It is taken over when you leave."
	bash --norc -i || true
	;;
# A menu that is left without saving is an error to make; whether there is something new shows below.
*) make -s "$EDITOR_COMMAND" || true ;;
esac
cmp -s $KCONFIG_CONFIG /answers/before.config || query $KCONFIG_CONFIG /answers/after
