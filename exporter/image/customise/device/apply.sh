#!/bin/sh
# Puts the agent of Fieldloop, its settings and its bundle on this Debian. Run by root:
#   apply.sh first-run PAYLOAD     nothing is started: the system is on its way to its first real start
#   apply.sh live PAYLOAD [WAIT]   the agent is started, and must be well within WAIT seconds; else all is as it was
# PAYLOAD: a tar archive, - for standard input. Doing it twice is doing it once. Each line that it prints says what it did.
# The last line of a failure begins with "refused:" (nothing was changed) or "failed:" (and says how it was left).
set -eu
umask 077
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mode=$1 payload=$2 wait_s=${3:-60}
state=/var/lib/fieldloop
unit=fieldloop-agent.service
# The package that was installed last, for going back to.
kept=/var/cache/fieldloop/fieldloop-agent.deb
work=
masked=
changing=

refuse() {
    echo "refused: $*"
    exit 1
}

unmask() {
    if [ -n "$masked" ]; then
        masked=
        systemctl --quiet --runtime unmask $unit
    fi
}

# Whatever ends this, a lost connection too, leaves nothing half done and no secret behind.
finish() {
    code=$?
    trap - EXIT
    trap '' HUP INT TERM
    unmask || true
    if [ "$code" -ne 0 ] && [ -n "$changing" ]; then
        set +e
        go_back
    fi
    [ -z "$work" ] || rm -rf "$work"
    exit "$code"
}
trap finish EXIT
# A lost connection: what is printed goes nowhere, and is an error that ends this by the way above.
trap '' PIPE
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

is_installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' fieldloop-agent 2>/dev/null)" = installed ]
}

# Everything that the package needs must be there, or be had by apt, before anything is changed.
install_package() {
    if ! apt-get --option DPkg::Lock::Timeout=120 --option APT::Sandbox::User=root --option Dpkg::Options::=--force-confold \
        --option Dpkg::Use-Pty=0 --quiet --yes --no-install-recommends --no-remove --allow-downgrades --reinstall \
        install "$1" >"$work/apt.log" 2>&1 </dev/null; then
        sed 's/^/  /' "$work/apt.log"
        return 1
    fi
}

# Copies what is below $1 to its place, file by file, each of them whole or not at all.
place_files() {
    (cd "$1" && find . -type f) | sed 's/^\.//' | sort >"$work/list"
    while read -r path; do
        mode_of=$(stat --format=%a "$1$path")
        if [ -f "$path" ] && cmp -s "$1$path" "$path" && [ "$(stat --format=%a "$path")" = "$mode_of" ]; then
            continue
        fi
        (umask 022 && mkdir -p "$(dirname "$path")")
        cp "$1$path" "$path.new"
        chmod "$mode_of" "$path.new"
        sync "$path.new"
        mv "$path.new" "$path"
        echo "$path" >>"$work/changed"
    done <"$work/list"
}

# A copy of each file that place_files may change.
keep_files() {
    mkdir -p "$work/before"
    (cd "$work" && find settings -type f 2>/dev/null) | sed 's/^settings//' | while read -r path; do
        if [ -f "$path" ]; then
            mkdir -p "$work/before$(dirname "$path")"
            cp -p "$path" "$work/before$path"
        fi
    done
}

go_back() {
    (cd "$work" && find settings bundle token -type f 2>/dev/null) | sed 's/^[a-z]*//' | while read -r path; do
        if [ -f "$work/before$path" ]; then
            cp -p "$work/before$path" "$path"
        elif grep -qxF "$path" "$work/changed" 2>/dev/null; then
            rm -f "$path"
        fi
    done
    if [ -z "$was" ]; then
        systemctl stop $unit 2>/dev/null
        # Purging would take what was there before the package came, too.
        if [ -n "$state_was" ]; then
            dpkg --remove fieldloop-agent >/dev/null 2>&1
        else
            dpkg --purge fieldloop-agent >/dev/null 2>&1
        fi
        rm -rf "$(dirname $kept)"
        echo "failed: the package and the settings were taken away again"
    elif [ -f "$work/kept.deb" ] && install_package "$work/kept.deb"; then
        systemctl restart $unit 2>/dev/null
        echo "failed: fieldloop-agent $was and the settings of before are back"
    elif [ "$was" = "$(version_here)" ]; then
        systemctl restart $unit 2>/dev/null
        echo "failed: the settings of before are back"
    else
        systemctl restart $unit 2>/dev/null
        echo "failed: the settings of before are back; the package is the new one, for the one of before is not kept here"
    fi
}

version_here() {
    is_installed && dpkg-query --show --showformat='${Version}' fieldloop-agent || true
}

# 1. What is needed, before anything is changed.
[ "$(id -u)" = 0 ] || refuse "this takes root"
for program in apt-get dpkg tar find cmp; do
    command -v $program >/dev/null || refuse "there is no $program here: is this Debian, or Raspberry Pi OS?"
done
if [ "$mode" = live ] && [ ! -d /run/systemd/system ]; then
    refuse "systemd does not run here; the agent is a service of it"
fi
work=$(mktemp -d /var/tmp/fieldloop.XXXXXX) || refuse "there is no room in /var/tmp"
if [ "$payload" = - ]; then
    cat >"$work/payload.tar" || refuse "there is no room in /var/tmp for what was sent"
    payload=$work/payload.tar
fi
tar --extract --no-same-owner --preserve-permissions --file "$payload" --directory "$work" || refuse "there is no room in /var/tmp, or what was sent is damaged"
rm -f "$work/payload.tar"
architecture=$(dpkg-deb --field "$work/fieldloop-agent.deb" Architecture)
if [ "$architecture" != "$(dpkg --print-architecture)" ]; then
    refuse "the package is for $architecture, and this is $(dpkg --print-architecture)"
fi
version=$(dpkg-deb --field "$work/fieldloop-agent.deb" Version)
# Installed, it takes this many KiB; half as much again is its bytecode.
needed=$(($(dpkg-deb --field "$work/fieldloop-agent.deb" Installed-Size) * 5 / 2 + $(du -sk "$work" | cut -f1)))
free=$(df --output=avail -k /usr | tail -n 1)
[ "$free" -ge "$needed" ] || refuse "there are $free KiB free, and $needed are needed"
was=$(version_here)
state_was=
if [ -d $state ]; then state_was=yes; fi
if ! apt-get --simulate --option APT::Sandbox::User=root --option DPkg::Lock::Timeout=120 --quiet --no-install-recommends --no-remove \
    --allow-downgrades --reinstall install "$work/fieldloop-agent.deb" >"$work/apt.log" 2>&1 </dev/null; then
    sed 's/^/  /' "$work/apt.log"
    refuse "the package cannot be installed here"
fi

# 2. The package. Its service is masked meanwhile, in /run: it is started once, when the settings are there.
: >"$work/changed"
keep_files
if [ -f $kept ]; then cp $kept "$work/kept.deb"; fi
changing=yes
if [ "$was" = "$version" ] && cmp -s $kept "$work/fieldloop-agent.deb"; then
    echo "fieldloop-agent $version was there already"
else
    if [ -d /run/systemd/system ]; then
        systemctl --quiet --runtime mask $unit
        masked=yes
    fi
    install_package "$work/fieldloop-agent.deb" || exit 1
    unmask
    (umask 022 && mkdir -p "$(dirname $kept)")
    cp "$work/fieldloop-agent.deb" $kept.new
    mv $kept.new $kept
    echo package >>"$work/changed"
    echo "fieldloop-agent $version installed${was:+, instead of $was}"
fi

# 3. What lies there. A board that has an identity, or bundles, keeps them.
if [ -d "$work/token" ]; then
    if [ -e $state/identity.pem ]; then
        echo "the board has an identity already: the claim token was not needed"
    else
        place_files "$work/token"
    fi
fi
if [ -d "$work/bundle" ]; then
    if [ -e $state/update.json ]; then
        echo "the board has bundles already: it keeps them; order another to the fleet"
    else
        # In the order of their paths the record, update.json, comes last: it says that the rest is there.
        place_files "$work/bundle"
        echo "a bundle is preloaded"
    fi
fi
place_files "$work/settings"
# systemd does it only where the folder is not the agent's yet.
chown --recursive --no-dereference fieldloop:fieldloop $state
sync
number=$(grep -c ^/ "$work/changed" || true)
echo "$number files written"

# 4. The agent itself says whether it takes them.
if ! setpriv --reuid=fieldloop --regid=fieldloop --init-groups -- \
    fieldloop-agent check-config --settings /etc/fieldloop/agent.toml >"$work/check.log" 2>&1; then
    sed 's/^/  /' "$work/check.log"
    [ "$mode" = first-run ] || exit 1
fi
# While it was masked its package could not do it.
systemctl --quiet enable $unit
if [ "$mode" = first-run ]; then
    changing=
    exit 0
fi
if [ -s "$work/changed" ] || ! systemctl --quiet is-active $unit; then
    systemctl daemon-reload
    timeout "$wait_s" systemctl restart $unit || {
        journalctl --unit=$unit --lines=20 --no-pager --output=cat | sed 's/^/  /'
        exit 1
    }
fi
# It told that it is ready; it must still be there a moment later.
sleep 2
if [ "$(systemctl show --value --property=ActiveState $unit)" != active ]; then
    journalctl --unit=$unit --lines=20 --no-pager --output=cat | sed 's/^/  /'
    exit 1
fi
changing=
echo "the agent is well: $(systemctl show --value --property=StatusText $unit)"
