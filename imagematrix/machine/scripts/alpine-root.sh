# shellcheck shell=bash
# The rest of a root file system of the alpine kind, around a /usr/local that holds CPython; sourced after common.sh.

fill_root() { # ROOT MUSL-LIBS X.Y
    local applet
    (
        cd "$1" || exit
        mkdir -p bin sbin lib etc/ssl/certs usr/bin usr/sbin usr/lib usr/share var/log var/tmp run home root proc sys \
            dev mnt opt srv tmp
        chmod 1777 tmp var/tmp
        chmod 700 root
        install -m755 "$2/ld-musl-x86_64.so.1" lib/
        ln -sfn ld-musl-x86_64.so.1 lib/libc.musl-x86_64.so.1
        printf '#!/bin/sh\nexec /lib/ld-musl-x86_64.so.1 --list "$@"\n' >usr/bin/ldd
        chmod +x usr/bin/ldd
        install -m755 "$2/busybox" bin/
        "$2/busybox" --list-full | while read -r applet; do
            [ -e "$applet" ] || ln -s /bin/busybox "$applet"
        done
        printf '%s\n' root:x:0:0:root:/root:/bin/sh bin:x:1:1:bin:/bin:/sbin/nologin \
            daemon:x:2:2:daemon:/sbin:/sbin/nologin nobody:x:65534:65534:nobody:/:/sbin/nologin >etc/passwd
        printf '%s\n' root:x:0:root bin:x:1:root,bin,daemon daemon:x:2:root,bin,daemon tty:x:5: users:x:100: \
            nogroup:x:65533: nobody:x:65534: >etc/group
        printf '%s\n' 'root:*::0:::::' 'nobody:!::0:::::' >etc/shadow
        chmod 640 etc/shadow
        echo /bin/sh >etc/shells
        printf '%s\n' 'NAME="Stand-in for python:'"$3"'-alpine (musl and busybox, no apk; not Alpine Linux)"' \
            ID=standin ID_LIKE=alpine "VERSION_ID=$3" >etc/os-release
        cat /usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt # Mozilla's, not this machine's own
        ln -sfn certs/ca-certificates.crt etc/ssl/cert.pem
        cp -a /usr/share/zoneinfo usr/share/
    )
    chown -R 0:0 "$1"
}

# Installs the pip of Debian 12's package (a wheel; it knows musllinux and still runs on Python 3.7) over an older one.
install_pip() { # ROOT
    private_apt bookworm deb get update -qq
    (cd "$WORK" && private_apt bookworm deb get download -qq python3-pip-whl)
    dpkg-deb -x "$WORK"/python3-pip-whl_*.deb "$WORK/pip"
    cp "$WORK"/pip/usr/share/python-wheels/pip-*.whl "$1/tmp/"
    chroot "$1" /bin/sh -c '/usr/local/bin/python3 -m pip install -q --no-cache-dir --no-index /tmp/pip-*.whl'
    rm -rf "$1"/tmp/* "$1/root/.cache"
    slim_python "$1/usr/local"
}
