"""The facts about processors by instruction set: which format runs how, and why.

Sources: the devices pages of OpenVINO (2020.4 to 2026), its CPU plugin's own checks, the documentation of NVIDIA's
Model Optimizer. ``measured=True`` only where docs/benchmarks.md or docs/decisions/003 and 004 rest on a run.
"""

from __future__ import annotations

from fewbits.devices.records import Device, Fact

_NO_FP16 = "instructions convert FP16 at most (f16c); files may hold it, execution is FP32"
_NO_BF16 = "no BF16 instructions, and OpenVINO does not imitate it; a BF16 file is executed in FP32"
_SATURATES = "INT8 products are added in pairs in 16 bits and may saturate, so weights get 7 bits"
_VNNI = "four INT8 products are summed in 32 bits by one instruction (VNNI): nothing saturates, 8-bit weights"
_SIMULATED = "OpenVINO computes it in FP32 on AVX-512, for development: right in its numbers, no gain in speed"
_FP32 = "what every processor computes in"

# Plainest first: of two rows that a processor fits, the later one says more about it.
PROCESSORS = (
    Device(
        "CPU SSE4.2",
        "x86 with SSE4.2, from Nehalem",
        (
            Fact("fp32", "native", _FP32),
            Fact("fp16", "storage", "no FP16 instructions; files may hold it, execution is FP32"),
            Fact("bf16", "no", _NO_BF16),
            Fact("int8", "native", f"{_SATURATES}; there is a kernel, and it gains little"),
        ),
        needs=frozenset({"sse4_2"}),
    ),
    Device(
        "CPU AVX2",
        "x86 with AVX2, from Haswell",
        (
            Fact("fp32", "native", _FP32),
            Fact("fp16", "storage", _NO_FP16),
            Fact("bf16", "no", _NO_BF16),
            Fact("int8", "native", f"{_SATURATES}; documented as 1.6 to 2.0 times as fast as FP32"),
        ),
        needs=frozenset({"avx2"}),
    ),
    Device(
        "CPU AVX-512",
        "x86 with AVX-512 but no VNNI, from Skylake-SP",
        (
            Fact("fp32", "native", _FP32),
            Fact("fp16", "storage", _NO_FP16),
            Fact("bf16", "emulated", _SIMULATED),
            Fact("int8", "native", f"{_SATURATES}, as with AVX2"),
        ),
        needs=frozenset({"avx512bw"}),
    ),
    Device(
        "CPU AVX2-VNNI",
        "x86 with AVX2 and VNNI, from Alder Lake",
        (
            Fact("fp32", "native", _FP32),
            Fact("fp16", "storage", _NO_FP16),
            Fact("bf16", "no", _NO_BF16),
            Fact("int8", "native", _VNNI),
        ),
        needs=frozenset({"avx_vnni"}),
    ),
    Device(
        "CPU AVX-512 VNNI",
        "x86 with AVX-512 and VNNI, from Cascade Lake",
        (
            Fact("fp32", "native", _FP32),
            Fact("fp16", "storage", _NO_FP16),
            Fact("bf16", "emulated", _SIMULATED),
            Fact("int8", "native", f"{_VNNI}; documented as 2.4 to 4.2 times as fast as FP32"),
        ),
        needs=frozenset({"avx512_vnni"}),
    ),
    Device(
        "CPU AVX2-VNNI-2",
        "x86 with AVX2, VNNI for all signs and conversions, from Arrow Lake, Lunar Lake and Sierra Forest",
        (
            Fact("fp32", "native", _FP32),
            Fact("fp16", "native", "converted by an instruction while loading; OpenVINO counts it as FP16 hardware"),
            Fact("bf16", "native", "converted by an instruction while loading; OpenVINO counts it as BF16 hardware"),
            Fact("int8", "native", f"{_VNNI}; signed by signed and unsigned by unsigned as well"),
        ),
        needs=frozenset({"avx_vnni_int8", "avx_ne_convert"}),
    ),
    Device(
        "CPU AVX-512 BF16",
        "x86 with AVX-512 BF16, from Cooper Lake and Zen 4",
        (
            Fact("fp32", "native", f"{_FP32}; OpenVINO takes BF16 by itself here unless FP32 is asked for", True),
            Fact(
                "fp16",
                "storage",
                "stored in FP16, executed in FP32: there is no FP16 arithmetic, and OpenVINO asked for f16 takes BF16",
                True,
            ),
            Fact("bf16", "native", "BF16 products are summed in FP32 by one instruction (AVX512-BF16)", True),
            Fact("int8", "native", _VNNI, True, frozenset({"avx512_vnni"})),
        ),
        needs=frozenset({"avx512_bf16"}),
    ),
    Device(
        "CPU AVX-512 FP16",
        "x86 with AVX-512 FP16, from Sapphire Rapids",
        (
            Fact("fp32", "native", _FP32),
            Fact("fp16", "native", "FP16 arithmetic in vector instructions (AVX512-FP16)"),
            Fact(
                "bf16",
                "native",
                "BF16 products are summed in FP32 by one instruction (AVX512-BF16)",
                needs=frozenset({"avx512_bf16"}),
            ),
            Fact("int8", "native", _VNNI, needs=frozenset({"avx512_vnni"})),
        ),
        needs=frozenset({"avx512_fp16"}),
    ),
    Device(
        "CPU AMX",
        "x86 with matrix units (AMX), from Sapphire Rapids",
        (
            Fact("fp32", "native", "in AVX-512: the matrix units have no FP32"),
            Fact("fp16", "storage", "these matrix units have no FP16; it needs AVX512-FP16 or AMX-FP16"),
            Fact("bf16", "native", "the matrix units multiply BF16 (amx_bf16)"),
            Fact("int8", "native", "the matrix units multiply INT8 into 32 bits (amx_int8): nothing saturates"),
        ),
        needs=frozenset({"amx_tile", "amx_bf16", "amx_int8"}),
    ),
    Device(
        "CPU AMX-FP16",
        "x86 with matrix units for FP16, from Granite Rapids",
        (
            Fact("fp32", "native", "in AVX-512: the matrix units have no FP32"),
            Fact("fp16", "native", "the matrix units multiply FP16; oneDNN may need ONEDNN_MAX_CPU_ISA raised"),
            Fact("bf16", "native", "the matrix units multiply BF16 (amx_bf16)"),
            Fact("int8", "native", "the matrix units multiply INT8 into 32 bits (amx_int8): nothing saturates"),
        ),
        needs=frozenset({"amx_fp16"}),
    ),
    Device(
        "CPU Arm",
        "64-bit Arm without FP16 arithmetic",
        (
            Fact("fp32", "native", _FP32),
            Fact("fp16", "storage", "without FEAT_FP16 files may hold it, execution is FP32"),
            Fact("bf16", "no", "OpenVINO offers FP32 and FP16 on Arm, whatever the processor has"),
            Fact("int8", "emulated", "OpenVINO computes quantized models in floats here and promises no gain"),
        ),
        needs=frozenset({"asimd"}),
    ),
    Device(
        "CPU Arm FP16",
        "64-bit Arm with FP16 arithmetic (FEAT_FP16)",
        (
            Fact("fp32", "native", _FP32),
            Fact("fp16", "native", "FP16 arithmetic in vector instructions; OpenVINO's default here"),
            Fact("bf16", "no", "OpenVINO offers FP32 and FP16 on Arm, whatever the processor has"),
            Fact("int8", "emulated", "OpenVINO computes quantized models in floats here and promises no gain"),
        ),
        needs=frozenset({"asimd", "asimdhp"}),
    ),
)

UNKNOWN_PROCESSOR = Device(
    "CPU",
    "a processor whose instruction sets could not be read or say nothing about formats",
    (
        Fact("fp32", "native", _FP32),
        Fact("fp16", "storage", "nothing is known about this processor's FP16; execution in FP32 is to be expected"),
        Fact("bf16", "storage", "nothing is known about this processor's BF16; execution in FP32 is to be expected"),
        Fact("int8", "emulated", "nothing is known about this processor's INT8; measure before trusting a gain"),
    ),
)
