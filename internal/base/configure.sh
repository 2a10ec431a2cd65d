# Runs once in a root file system whose packages are unpacked but not configured. What dpkg would have run
# before unpacking (preinst) runs first, since it may make users that the configuration needs.
set -eu
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C HOME=/root
export DPKG_ROOT= DPKG_ADMINDIR=/var/lib/dpkg DPKG_MAINTSCRIPT_NAME=preinst
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
cd /
preinst() {
	name=${1##*/}
	name=${name%.preinst}
	DPKG_MAINTSCRIPT_PACKAGE=${name%%:*} "$1" install || { echo "preinst of $name failed" >&2; exit 1; }
}
# base-passwd makes /etc/passwd and /etc/group, which every other script may need.
first=/var/lib/dpkg/info/base-passwd.preinst
[ ! -e $first ] || preinst $first
for script in /var/lib/dpkg/info/*.preinst; do
	[ "$script" = $first ] || [ ! -e "$script" ] || preinst "$script"
done
dpkg --force-unsafe-io --configure -a
rm -rf /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/log/* /tmp/*
