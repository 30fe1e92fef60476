# shellcheck shell=bash
# A compiler for musl out of the machine's own gcc and musl-tools; sourced after common.sh by the musl scripts.
mkdir -p "$WORK/bin" "$WORK/kernel"
# musl-dev has no kernel headers: lend it the machine's, last in the search path.
for name in linux asm-generic mtd; do ln -sfn "/usr/include/$name" "$WORK/kernel/$name"; done
ln -sfn /usr/include/x86_64-linux-gnu/asm "$WORK/kernel/asm"
# Named gcc, because sysconfig records the name. Debian's gcc answers --print-multiarch with x86_64-linux-gnu, which
# CPython's configure refuses beside musl; Alpine's gcc answers nothing.
cat >"$WORK/bin/gcc" <<END
#!/bin/sh
case \$1 in --print-multiarch | -print-multiarch) exit 0 ;; esac
REALGCC=/usr/bin/gcc exec /usr/bin/musl-gcc "\$@" -idirafter '$WORK/kernel'
END
chmod +x "$WORK/bin/gcc"
ln -sfn gcc "$WORK/bin/cc"
ln -sfn /bin/false "$WORK/bin/dpkg-architecture" # CPython 3.11's and older setup.py would add glibc's folders
ln -sfn /bin/false "$WORK/bin/pkg-config"        # … and it would answer with glibc's libraries
export PATH=$WORK/bin:$PATH CC=gcc AR=ar RANLIB=ranlib
# shellcheck disable=SC2034  # for the scripts that source this
HOST_CC=/usr/bin/gcc TRIPLET=x86_64-linux-musl
