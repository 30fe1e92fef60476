# shellcheck shell=bash
# What the stand-in scripts share; sourced, never run. Each script is called as
#     SCRIPT OUT [ARGUMENT…]
# by imagematrix/machine/artefacts.py, in an empty work folder, with CACHE (the cache folder), ARTEFACTS (finished ones, by name)
# and JOBS set. It writes its one result to OUT, which the caller moves into place: an interrupted script leaves nothing
# that could be taken for whole. Why stand-ins at all: where no image registry is reachable, the images must still be
# proved on something. They are never shipped.
set -euo pipefail
shopt -s inherit_errexit
: "${CACHE:?run through imagematrix.machine.images}" "${ARTEFACTS:?run through imagematrix.machine.images}"
JOBS=${JOBS:-$(nproc)}
WORK=$PWD
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
unset CFLAGS CPPFLAGS LDFLAGS LD_LIBRARY_PATH C_INCLUDE_PATH CPATH LIBRARY_PATH PYTHONPATH PYTHONHOME

# The Debian archive that this machine's apt uses already (or DEBIAN_ARCHIVE), and the security archive beside it.
archive() {  # LABEL
    apt-get indextargets --format "\$(REPO_URI)" 'Created-By: Packages' "Label: $1" | sed -n 1p
}
DEBIAN_ARCHIVE=${DEBIAN_ARCHIVE:-$(archive Debian)}
DEBIAN_SECURITY=${DEBIAN_SECURITY:-$(archive Debian-Security)}
: "${DEBIAN_ARCHIVE:?apt on this machine uses no Debian archive: set DEBIAN_ARCHIVE to the address of one}"

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# apt with lists and settings of its own, so that another suite can be read without touching the machine's apt.
# What it fetches is verified by apt, against the archive's signature.
private_apt() {  # SUITE deb|deb-src COMMAND ARGUMENT…
    local root=$CACHE/apt/$1-$2
    if [ ! -e "$root/sources.list" ]; then
        mkdir -p "$root"/{lists/partial,cache/archives/partial,state}
        : >"$root/status"
        echo "$2 [signed-by=$KEYRING] $DEBIAN_ARCHIVE $1 main" >"$root/sources.list"
    fi
    "apt-${3%%-*}" -o Dir::Etc::sourcelist="$root/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o Dir::State="$root/state" -o Dir::State::lists="$root/lists" \
        -o Dir::State::status="$root/status" -o Dir::Cache="$root/cache" -o Acquire::Languages=none \
        -o APT::Sandbox::User=root "${@:4}"
}

# Prints the path of a source package's upstream tarball, downloaded once, from the first of the suites that gives it: a
# mirror's index may name files that it has not got yet, or has no more.
source_tarball() {  # SUITES PACKAGE
    local suite
    for suite in $1; do
        if fetch_source "$suite" "$2" "$CACHE/sources/$suite-$2" >&2; then
            find "$CACHE/sources/$suite-$2" -name '*.orig.tar.*' ! -name '*.asc' | sed -n 1p
            return
        fi
    done
    return 1
}

fetch_source() {  # SUITE PACKAGE FOLDER
    local stamp=$CACHE/apt/$1-deb-src/updated
    (
        flock 9     # two scripts at once share the lists
        if [ -n "$(ls "$3" 2>/dev/null)" ]; then exit 0; fi
        if [ -z "$(find "$stamp" -mmin -60 2>/dev/null)" ]; then
            private_apt "$1" deb-src get update -qq || exit 1
            touch "$stamp"
        fi
        rm -rf "$3" "$3.part"
        mkdir -p "$3.part"
        cd "$3.part" && private_apt "$1" deb-src get source -qq --tar-only --only-source "$2" && mv "$3.part" "$3"
    ) 9>"$CACHE/apt.lock"
}

# Unpacks a source package into the work folder and goes there.
enter_source() {  # SUITES PACKAGE
    local tarball tree
    tarball=$(source_tarball "$1" "$2")
    tree=$WORK/$2
    mkdir "$tree"
    tar xf "$tarball" -C "$tree" --strip-components=1
    cd "$tree"
}

# Removes what the official images remove: tests, byte code, static libraries; and tkinter, whose libraries are missing.
slim_python() { # PREFIX
    find "$1" -depth \( -type d \( -name test -o -name tests -o -name idle_test -o -name __pycache__ \) \
        -o -type f \( -name '*.pyc' -o -name '*.a' -o -name '_tkinter.*.so' \) \) -exec rm -rf {} +
}

# Prints the path of the root file system that another script packed.
packed_root() { # NAME
    echo "$ARTEFACTS/$1/root.tar"
}

# Finishes a root file system: OUT/root.tar, without what a container mounts over it, and OUT/python-version.
pack() { # ROOT OUT
    mkdir "$2"
    tar -C "$1" --numeric-owner --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -cf "$2/root.tar" .
    if [ -e "$1/usr/local/bin/python3" ] || [ -L "$1/usr/local/bin/python3" ]; then
        chroot "$1" /usr/local/bin/python3 -c 'import platform; print(platform.python_version())' >"$2/python-version"
    fi
}
