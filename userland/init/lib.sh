# Functions that the boot scripts share. Sourced, not run.

# consoles: the terminals that are kernel consoles. tty0 is whichever virtual terminal is shown; the one to
# write on is the first.
consoles() {
    # shellcheck disable=SC2013 # words of one line
    for tty in $(cat /sys/class/tty/console/active); do
        case $tty in
        tty0) echo tty1 ;;
        *) echo "$tty" ;;
        esac
    done | sort -u
}

# say TEXT: a line of its own on every console. A serial line whose other end never takes anything does not
# stop the boot.
say() {
    for tty in $(consoles); do
        # shellcheck disable=SC2016 # the inner shell's
        printf '\n%s\n' "$1" | timeout 5 sh -c 'exec cat >"/dev/$1"' - "$tty"
    done
}

# fact NAME: a value of /etc/hookos/build, empty where there is none.
fact() {
    sed -n "s/^$1=//p" /etc/hookos/build 2>/dev/null | tr -d "'\""
}

# param NAME: the value of NAME=VALUE on the kernel command line, the last one; nothing where there is none. As the
# kernel reads it, a part in double quotes may have blanks.
param() {
    # shellcheck disable=SC2016 # awk's variables
    awk -v name="$1=" '
        function word() { if (index(text, name) == 1) value = substr(text, length(name) + 1); text = "" }
        {
            for (i = 1; i <= length($0); i++) {
                c = substr($0, i, 1)
                if (c == "\"") quoted = !quoted
                else if (c == " " && !quoted) word()
                else text = text c
            }
            word()
        }
        END { printf "%s", value }' /proc/cmdline
}

# cards: the network interfaces of hardware (not bridges, veth and the like): Ethernet (type 1) and InfiniBand (32),
# not part of a bond.
cards() {
    for card in /sys/class/net/*; do
        if [ -e "$card/device" ] && [ ! -e "$card/master" ]; then
            case $(cat "$card/type") in
            1 | 32) echo "${card##*/}" ;;
            esac
        fi
    done
}

# syslog_host: where logs are to be sent, nothing where nowhere. svlogd takes addresses only.
syslog_host() {
    param syslog_host | grep -xE '[0-9]{1,3}(\.[0-9]{1,3}){3}'
}
