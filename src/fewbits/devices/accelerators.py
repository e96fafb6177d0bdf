"""The facts about accelerators, those of today and those that no current release runs.

Sources: the devices pages of OpenVINO (2020.4 to 2026), its release notes, the documentation of NVIDIA's Model
Optimizer. None of them was measured by this project.
"""

from __future__ import annotations

from fewbits.devices.records import Device, Fact

_MYRIAD_ONLY = "its plugin takes FP16 models only"
_OLD_IR = "it reads IR 10, and today's releases write IR 11: convert the ONNX model with that release's own converter"

ACCELERATORS = (
    Device(
        "GPU",
        "Intel graphics, Gen9 to Xe",
        (
            Fact("fp32", "native", "computed by the vector units; the matrix units (XMX) have no FP32"),
            Fact("fp16", "native", "the preferred format, and what the plugin takes unless told otherwise"),
            Fact("bf16", "no", "the plugin executes FP32 or FP16; BF16 cannot be asked for"),
            Fact("int8", "native", "needs DP4A or XMX; older graphics run quantized models in floats, and slower"),
        ),
    ),
    Device(
        "NPU",
        "Intel neural processor of Core Ultra",
        (
            Fact("fp32", "storage", "FP32 is accepted and computed in FP16"),
            Fact("fp16", "native", "what it computes in; models need fixed shapes"),
            Fact("bf16", "no", "the plugin takes FP32 and FP16 for floating point"),
            Fact("int8", "native", "quantized layers run in INT8, the rest in FP16; models need fixed shapes"),
        ),
    ),
    Device(
        "NVIDIA",
        "NVIDIA graphics, through ONNX Runtime (CUDA, TENSORRT)",
        (
            Fact("fp32", "native", "computed by every generation"),
            Fact("fp16", "native", "the model itself must be in FP16, or TensorRT be told so (trt_fp16_enable)"),
            Fact("bf16", "native", "from Ampere; the model itself must be in BF16"),
            Fact("int8", "native", "supported by NVIDIA's Model Optimizer from Ampere"),
            Fact("fp8", "native", "supported by NVIDIA's Model Optimizer from Ada; fewbits builds none"),
            Fact("fp4", "native", "supported by NVIDIA's Model Optimizer from Blackwell; fewbits builds none"),
        ),
        aliases=("CUDA", "TENSORRT"),
    ),
)

RETIRED = (
    Device(
        "MYRIAD",
        "Neural Compute Stick 2, Myriad X",
        (
            Fact("fp32", "no", _MYRIAD_ONLY),
            Fact("fp16", "native", "the only format it takes"),
            Fact("bf16", "no", _MYRIAD_ONLY),
            Fact("int8", "no", f"{_MYRIAD_ONLY}, no quantized ones"),
        ),
        aliases=("NCS2", "MYRIADX", "VPU"),
        last_release="2022.3 LTS",
        runs_on="OpenVINO 2022.3 LTS still runs it; 2023.0 removed its plugin",
    ),
    Device(
        "NCS1",
        "Neural Compute Stick 1, Myriad 2",
        (
            Fact("fp32", "no", _MYRIAD_ONLY),
            Fact("fp16", "native", "the only format it takes"),
            Fact("bf16", "no", _MYRIAD_ONLY),
            Fact("int8", "no", f"{_MYRIAD_ONLY}, no quantized ones"),
        ),
        aliases=("NCS", "MYRIAD2"),
        last_release="2020.3 LTS",
        runs_on=f"OpenVINO 2020.3 LTS still runs it; {_OLD_IR}",
    ),
    Device(
        "HDDL",
        "HDDL-R card with eight Myriad X",
        (
            Fact(
                "fp32",
                "no",
                "its plugin takes FP16 models only, by the vendor's device tables of 2020.4 to 2022.1; an article of "
                "Intel's of April 2020 names FP32 as well, and the tables are followed here",
            ),
            Fact("fp16", "native", "the only format it takes"),
            Fact("bf16", "no", _MYRIAD_ONLY),
            Fact("int8", "no", f"{_MYRIAD_ONLY}, no quantized ones"),
        ),
        aliases=("HDDL-R", "HDDLR"),
        last_release="2022.3 LTS",
        runs_on="OpenVINO 2022.3 LTS still runs it; 2023.0 removed its plugin",
    ),
    Device(
        "FPGA",
        "Arria 10 cards, as HETERO:FPGA,CPU",
        (
            Fact("fp32", "no", "only the part of the model that HETERO leaves on the CPU computes in FP32"),
            Fact("fp16", "native", "with an FP16 bitstream"),
            Fact("bf16", "no", "its bitstreams compute in FP16 or FP11"),
            Fact("int8", "no", "its bitstreams compute in FP16 or FP11"),
            Fact("fp11", "native", "with an FP11 bitstream, which reads FP16 models"),
        ),
        aliases=("ARRIA10",),
        last_release="2020.4",
        runs_on=f"OpenVINO 2020.4 and 2020.3 LTS (supported until October 2021) still run it; {_OLD_IR}",
    ),
    Device(
        "GNA",
        "Gaussian and Neural Accelerator, for speech",
        (
            Fact("fp32", "storage", "FP32 models are taken; the plugin turns them into INT16 or INT8"),
            Fact("fp16", "storage", "FP16 models are taken; the plugin turns them into INT16 or INT8"),
            Fact("bf16", "no", "its plugin takes FP32 and FP16 models"),
            Fact("int8", "no", "quantized models are not taken: the plugin quantizes by itself"),
            Fact("int16", "native", "what it computes in, beside INT8; made by the plugin, not by a model's file"),
        ),
        last_release="2023.3",
        runs_on="OpenVINO 2023.3 still runs it; 2024.0 removed its plugin",
    ),
)
