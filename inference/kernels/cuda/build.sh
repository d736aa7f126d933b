#!/bin/sh
# Makes kernels.ptx from kernels.cu, with a compiler from PyPI; no device is needed. `build.sh check` says whether the PTX
# is what the source gives, and assembles it for the devices of today.
set -eu
cd "$(dirname "$0")"
home="${XDG_CACHE_HOME:-$HOME/.cache}/agora/cuda-13.0.88"
if [ ! -e "$home/ready" ]; then
    python3 -m venv --clear "$home"
    "$home/bin/pip" install --quiet --no-deps nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
        nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
    touch "$home/ready"
fi
tools=$(echo "$home"/lib/python*/site-packages/nvidia/cu13)
made=$(mktemp -d)
trap 'rm -r "$made"' EXIT
# Nothing is fused, no subnormal is flushed, quotients and roots are rounded to the nearest: as on the processor.
"$tools/bin/nvcc" -ptx -arch=compute_75 -std=c++17 --fmad=false -prec-div=true -prec-sqrt=true -ftz=false \
    -I "$tools/include" -o "$made/whole.ptx" kernels.cu
# Without comments, which name the compiler's build; in the language of CUDA 12.0, so that older drivers read it too. A test
# reads which source it is of.
echo "// Of kernels.cu with the cksum $(cksum <kernels.cu)." >"$made/kernels.ptx"
sed -e '/^\/\//d' -e 's/^\.version .*/.version 8.0/' "$made/whole.ptx" | cat -s >>"$made/kernels.ptx"
if [ "${1:-}" = check ]; then
    for device in sm_75 sm_80 sm_86 sm_89 sm_90 sm_100 sm_120; do
        "$tools/bin/ptxas" -arch=$device -o /dev/null "$made/kernels.ptx"
    done
    cmp "$made/kernels.ptx" kernels.ptx
else
    cp "$made/kernels.ptx" kernels.ptx
fi
