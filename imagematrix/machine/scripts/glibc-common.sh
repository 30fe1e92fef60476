# shellcheck shell=bash
# What the stand-ins on Debian share around a /usr/local that holds CPython; sourced after common.sh.

make_debian() { # SUITE ROOT PACKAGE…; of ARCHITECTURE and mmdebstrap's VARIANT, if they are set
    local options=(${ARCHITECTURE:+"--architectures=$ARCHITECTURE"}) path
    local sources="deb [signed-by=$KEYRING] $DEBIAN_ARCHIVE $1 main"
    # What debian:slim leaves out: https://github.com/debuerreotype/debuerreotype/blob/master/scripts/.slimify-excludes
    for path in man doc locale info lintian groff linda; do
        options+=(--dpkgopt="path-exclude=/usr/share/$path/*")
    done
    options+=(--dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-include=/usr/share/locale/locale.alias')
    # Debian 12 brings all of perl to merge /usr, unless that has been done; Debian 13 is born merged.
    if [ "$1" = bookworm ]; then
        options+=(--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include=usr-is-merged)
    fi
    # mmdebstrap's apt does not read this machine's settings. Where an archive is a dated copy, this one makes it usable.
    options+=(--aptopt="$(apt-config dump Acquire::Check-Valid-Until)")
    if [ "$1" != sid ]; then
        sources+=$'\n'"deb [signed-by=$KEYRING] $DEBIAN_ARCHIVE $1-updates main"
        [ -z "$DEBIAN_SECURITY" ] || sources+=$'\n'"deb [signed-by=$KEYRING] $DEBIAN_SECURITY $1-security main"
    fi
    # In a mount namespace of its own: whatever kills it, no mount stays behind.
    unshare --mount -- mmdebstrap --mode=root --variant="${VARIANT:-minbase}" --include="${*:3}" "${options[@]}" "$1" "$2" <<<"$sources"
    (
        cd "$2" || exit
        rm -rf etc/resolv.conf etc/hostname etc/apt/apt.conf.d/99mmdebstrap var/log/dpkg.log var/log/apt/* \
            var/log/alternatives.log var/cache/debconf/*-old var/cache/ldconfig/aux-cache
    )
}

unpack_debian() { # SUITE ROOT
    mkdir "$2"
    tar xf "$(packed_root "debian-$1")" -C "$2" --numeric-owner
}

# Slims /usr/local as the official images do, gives it pip and the names without a number.
finish_python() { # ROOT X.Y
    local root=$1 name
    slim_python "$root/usr/local"
    find "$root/usr/local" -type f \( -name '*.so*' -o -name "python$2" \) -exec strip --strip-unneeded {} +
    chown -R 0:0 "$root/usr/local"
    chroot "$root" ldconfig
    chroot "$root" env PYTHONDONTWRITEBYTECODE=1 PATH=/usr/local/bin:/usr/bin:/bin "python$2" -m ensurepip --default-pip
    for name in idle pip pydoc python; do
        [ -e "$root/usr/local/bin/$name" ] || ln -s "${name}3" "$root/usr/local/bin/$name"
    done
    ln -sfn python3-config "$root/usr/local/bin/python-config"
    rm -rf "$root/root/.cache" "$root"/tmp/*
}
