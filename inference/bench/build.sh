#!/usr/bin/env bash
# Builds the benchmark peers in release and prints the folder that holds the binaries, alone, on stdout.
#
# llama.cpp needs a C++ compiler, cmake and libclang. The last two come from PyPI into a virtual environment of our own, so
# nothing is installed on the machine. Both engines choose their SIMD code at compile time: the flags below are what this
# processor has, except AMX, which some virtual machines announce and then trap on (so never `target-cpu=native`).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/agora
venv=$cache/bench-venv
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/bench-target}

if [ ! -x "$venv/bin/cmake" ] || ! "$venv/bin/python" -c 'import clang' 2>/dev/null; then
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'cmake>=3.28' 'libclang==18.1.1' >&2
fi
export PATH="$venv/bin:$PATH"
LIBCLANG_PATH=$("$venv/bin/python" -c 'import clang, os; print(os.path.join(os.path.dirname(clang.__file__), "native"))')
export LIBCLANG_PATH
# The wheel is the library alone: the compiler's own headers (stddef.h, stdbool.h) are borrowed from the C compiler.
export BINDGEN_EXTRA_CLANG_ARGS="-I$("${CC:-cc}" -print-file-name=include) ${BINDGEN_EXTRA_CLANG_ARGS:-}"

# llama-cpp-sys-2 forwards GGML_* to cmake; it turns GGML_NATIVE off unless target-cpu is native, sets -march from
# target-cpu, and GGML_AVX2/FMA/F16C/BMI2 and the AVX-512 extensions from the target features. GGML_AVX512 itself it misses.
for name in $(env | sed -n 's/^\(GGML_[A-Z0-9_]*\)=.*/\1/p'); do unset "$name"; done
export GGML_NATIVE=OFF GGML_AMX_TILE=OFF GGML_AMX_INT8=OFF GGML_AMX_BF16=OFF

has() {
    for flag in "$@"; do
        grep -m 1 '^flags' /proc/cpuinfo 2>/dev/null | grep -qw -- "$flag" || return 1
    done
}

flags=
if [ "$(uname -m)" = x86_64 ] && has avx2 fma f16c bmi1 bmi2 movbe; then
    flags='-C target-cpu=x86-64-v3'
    if has avx512f avx512cd avx512bw avx512dq avx512vl avx512_vnni; then
        export GGML_AVX512=ON GGML_AVX512_VNNI=ON
        features=+avx512f,+avx512cd,+avx512bw,+avx512dq,+avx512vl,+avx512vnni
        if has avx512vbmi; then export GGML_AVX512_VBMI=ON; features=$features,+avx512vbmi; fi
        if has avx512_bf16; then export GGML_AVX512_BF16=ON; features=$features,+avx512bf16; fi
        flags="$flags -C target-feature=$features"
    fi
fi
export RUSTFLAGS=$flags
unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
echo "RUSTFLAGS=$RUSTFLAGS" >&2

cd "$here"
cargo build --locked --release "$@" >&2
echo "$CARGO_TARGET_DIR/release"
