#!/bin/sh
# start.sh QEMU ARGUMENT...: start hookbuild's server, wait until it answers, then become QEMU.
set -u

(
	/netboot/hookbuild serve --out /netboot/out --listen 127.0.0.1:8080 --progress plain 2>&1
	echo "ended with exit code $?"
	: >/netboot/ended
) | while IFS= read -r line; do
	# The guest's console may stand in the middle of a line.
	printf '\nserver: %s\n' "$line"
done &

tries=0
until bash -c ': </dev/tcp/127.0.0.1/8080' 2>/dev/null; do
	tries=$((tries + 1))
	if [ -e /netboot/ended ] || [ "$tries" -gt 150 ]; then
		echo "hookbuild: the server does not answer on 127.0.0.1:8080"
		sleep 0.5 # for the rest of its output
		exit 3
	fi
	sleep 0.2
done
exec "$@"
