# Copies from the kernel source tree $1 into the new directory $2 what configuring for x86 and arm64 reads: enough
# for menuconfig, nconfig, olddefconfig, savedefconfig and the like with O=, not enough to compile anything.
set -eu
from=$1 to=$2
[ ! -e "$to" ] || { echo "$to is there already" >&2; exit 1; }
mkdir -p "$to"
to=$(cd "$to" && pwd)
cd "$from"
list=$to/.list
{
	echo Makefile
	# Other architectures' as well: source is followed below an if that is n.
	find . -path ./scripts/kconfig/tests -prune -o -type f -name 'Kconfig*' -print
	# The headers are for Rust's check of bindgen.
	find arch/x86 arch/arm64 scripts -maxdepth 1 -type f -name 'Makefile*'
	find scripts -maxdepth 1 -type f \( -name '*.sh' -o -name '*.h' -o -name '*.include' ! -name 'Kconfig*' \)
	for dir in scripts/basic scripts/include scripts/kconfig; do
		# 6.10 brought scripts/include.
		[ ! -d $dir ] || find $dir -path scripts/kconfig/tests -prune -o -type f -print
	done
} > "$list"
xargs -d '\n' -a "$list" cp -p --parents -t "$to"
rm "$list"
