#!/bin/sh
# Have the kernel start qemu for programs of ARM, as binfmt-support does wherever it is started. On a machine whose
# packages start nothing when they are installed (build machines, containers), nobody ever started it, and every test
# that builds an image would be skipped.
#
# usage: scripts/enable-emulation.sh
#   Where it may not, it says so; the tests that need it are skipped then, with the reason.
set -eu

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
registered=/proc/sys/fs/binfmt_misc

as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo -n"
fi
for format in qemu-aarch64 qemu-arm; do
    if [ ! -e "$registered/$format" ] && ! $as_root update-binfmts --enable "$format" 2>/dev/null; then
        echo "enable-emulation: programs of ARM do not run here, tests of images are skipped. This enables them:" >&2
        echo "    sudo update-binfmts --enable qemu-aarch64 && sudo update-binfmts --enable qemu-arm" >&2
        exit 0
    fi
done
