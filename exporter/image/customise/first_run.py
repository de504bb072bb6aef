"""Writes ``firstrun.sh``, what Raspberry Pi OS of bookworm runs once as it starts for the first time.

The kernel's command line names it, as Raspberry Pi Imager has it (rpi-imager, src/downloadthread.cpp): systemd then
starts nothing but that, and restarts when it is done. Should it fail, systemd would power the board off; so it never
does, and leaves a log on the boot partition.

The order of its steps is a safety property: a power cut at any of them lets the next start run it again, or find it
done. It is removed after the command line no longer names it, and that is changed after the payload is used up.
"""

import shlex
from collections.abc import Sequence
from typing import Final

SCRIPT: Final = "firstrun.sh"
FOLDER: Final = "fieldloop"
APPLY: Final = "apply.sh"
PAYLOAD: Final = "payload.tar"
LOG: Final = "fieldloop-first-run.log"
BOOT: Final = "/boot/firmware"
WORDS: Final = (
    f"systemd.run={BOOT}/{SCRIPT}",
    "systemd.run_success_action=reboot",
    "systemd.unit=kernel-command-line.target",
)
MARK: Final = "fieldloop image customise"

_HEAD: Final = f"""\
#!/bin/sh
# Written by `{MARK}`. Runs once, as this system starts for the first time, and then restarts it.
set +e
boot={BOOT}
here=$boot/{FOLDER}
log=$boot/{LOG}
"""
_USER: Final = """\
set_up_user() {
    user=@USER@
    first=$(getent passwd 1000 | cut -d: -f1)
    if getent passwd "$user" >/dev/null; then
        :
    elif [ -n "$first" ] && [ -x /usr/lib/userconf-pi/userconf ]; then
        # Renames the image's own user; without a second word he has no password.
        /usr/lib/userconf-pi/userconf "$user" ''
    else
        useradd --create-home --shell /bin/bash "$user"
    fi
    home=$(getent passwd "$user" | cut -d: -f6)
    install -o "$user" -g "$user" -m 700 -d "$home/.ssh"
    touch "$home/.ssh/authorized_keys"
    while read -r key; do
        grep -qxF "$key" "$home/.ssh/authorized_keys" || echo "$key" >>"$home/.ssh/authorized_keys"
    done <<'KEYS'
@KEYS@
KEYS
    chown "$user:$user" "$home/.ssh/authorized_keys"
    chmod 600 "$home/.ssh/authorized_keys"
    systemctl --quiet enable ssh
}
"""
_NO_USER: Final = """\
set_up_user() {
    # Nobody is to log in: the image's own user stays without a password.
    first=$(getent passwd 1000 | cut -d: -f1)
    [ -z "$first" ] || passwd --quiet --lock "$first"
}
"""
_REST: Final = """\
set_up_system() {
    # It would wait for somebody who makes up a user.
    if [ -e /lib/systemd/system/userconfig.service ]; then
        systemctl --quiet disable userconfig
        systemctl --quiet enable getty@tty1
    fi
    name=@HOSTNAME@
    if [ -n "$name" ]; then
        echo "$name" >/etc/hostname
        if grep -q '^127\\.0\\.1\\.1' /etc/hosts; then
            sed -i "s/^127\\.0\\.1\\.1.*/127.0.1.1\\t$name/" /etc/hosts
        else
            printf '127.0.1.1\\t%s\\n' "$name" >>/etc/hosts
        fi
    fi
    # Wi-Fi is blocked until somebody said in which country it is; the kernel's command line says it.
    if [ -n "@WIFI@" ]; then
        for switch in /var/lib/systemd/rfkill/*:wlan; do
            [ ! -e "$switch" ] || echo 0 >"$switch"
        done
        rfkill unblock wifi 2>/dev/null
    fi
}
if [ -d "$here" ]; then
    {
        echo "first run of @MARK@"
        set_up_user
        set_up_system
        sh "$here/@APPLY@" first-run "$here/@PAYLOAD@"
        code=$?
        echo "ended with $code"
    } >"$log" 2>&1
    # What was not applied stays, for `sudo sh apply.sh live payload.tar` in that folder.
    [ "$code" -ne 0 ] || mv "$here" "$here.done"
    sync
fi
rm -rf "$here.done"
sync
line=$boot/cmdline
sed @CLEAN@ "$line.txt" >"$line.new" && [ -s "$line.new" ] && sync && mv "$line.new" "$line.txt"
sync
rm -f "$boot/@SCRIPT@"
sync
exit 0
"""


def first_run_script(*, user: str | None, keys: Sequence[str], hostname: str | None, has_wifi: bool) -> bytes:
    """Return the script.

    Args:
        user: who may log in; None: nobody.
        keys: lines of his ``authorized_keys``, verified.
        hostname: the board's name; None: it keeps the image's.
        has_wifi: Wi-Fi is to be let go.
    """
    account = (
        _NO_USER if user is None else _USER.replace("@USER@", shlex.quote(user)).replace("@KEYS@", "\n".join(keys))
    )
    clean = "; ".join(f"s|  *{word.replace('.', '[.]')}||g" for word in WORDS)
    rest = (
        _REST.replace("@HOSTNAME@", shlex.quote(hostname or ""))
        .replace("@WIFI@", "yes" if has_wifi else "")
        .replace("@CLEAN@", shlex.quote(clean))
        .replace("@MARK@", MARK)
        .replace("@APPLY@", APPLY)
        .replace("@PAYLOAD@", PAYLOAD)
        .replace("@SCRIPT@", SCRIPT)
    )
    return (_HEAD + account + rest).encode()
