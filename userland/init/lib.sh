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
