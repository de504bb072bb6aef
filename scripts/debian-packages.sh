#!/bin/sh
# Install the Debian packages that a list names and this machine lacks; where that is not allowed, say which.
#
# usage: scripts/debian-packages.sh LIST [PYTHON]
#   LIST: one package a line, then the command that tells that it is not needed; # begins a comment.
#
# No service is started: what is installed here is for tests, which start their own on free ports.
set -eu

if [ $# -lt 1 ]; then
    echo "usage: scripts/debian-packages.sh LIST [PYTHON]" >&2
    exit 2
fi
list=$1
PYTHON=${2:-python3}
export PYTHON
# Debian keeps servers here, and a user's PATH often leaves it out.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

missing=
while read -r package check; do
    case $package in '' | '#'*) continue ;; esac
    if ! sh -c "$check" >/dev/null 2>&1 </dev/null; then
        missing="$missing $package"
    fi
done <"$list"
missing=${missing# }
if [ -z "$missing" ]; then
    exit 0
fi

refuse() {
    echo "debian-packages: $1" >&2
    echo "debian-packages: missing: $missing. This installs them:" >&2
    echo "    sudo apt-get install --no-install-recommends $missing" >&2
    exit 1
}

command -v apt-get >/dev/null 2>&1 || refuse "this is no Debian system; the names may differ here."
if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif sudo -n true >/dev/null 2>&1; then
    as_root=sudo
else
    refuse "installing packages takes root, and sudo is not here or asks for a password."
fi

# A package must not start its server on the usual port: policy-rc.d says no while we install.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    # shellcheck disable=SC2064  # the values of now
    trap "$as_root rm -f $policy" EXIT
    trap 'exit 130' INT TERM
fi
echo "Installing Debian packages: $missing"
install_missing() {
    # shellcheck disable=SC2086  # one word per package
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends $missing
}
# A new machine has no lists yet, and old lists name versions that are gone.
if ! install_missing >/dev/null 2>&1; then
    $as_root apt-get update --quiet --quiet || true
    install_missing >&2 || refuse "apt-get could not install them; see its words above."
fi
# Nor may it start at the next boot.
for service in $missing; do
    if [ -d /run/systemd/system ] && [ -e "/lib/systemd/system/$service.service" ]; then
        $as_root systemctl disable --quiet --now "$service.service" || true
    fi
done
