"""The facts about devices, and what they make of processors that are not this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewbits.devices.host import Host, detect
from fewbits.devices.lookup import FORMATS, behind, canonical, every, find, impossible, named, processor
from fewbits.devices.records import MEANING
from fewbits.errors import InputError
from fewbits.quantization.recipe import weight_bits

NOWHERE = Host("unknown", (), 1)
X86 = "processor\t: 0\nvendor_id\t: x\nmodel name\t: {name}\nflags\t\t: fpu sse2 {flags}\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd evtstrm aes {flags}\nCPU part\t: 0xd40\n"
RISCV = "processor\t: 0\nhart\t\t: 0\nisa\t\t: rv64imafdcv_zicsr_zvfh\nmmu\t\t: sv57\nuarch\t\t: some,core\n"
SERVER = "sse4_2 avx2 f16c avx512f avx512bw avx512_vnni"

# cpuinfo → level of fp32, fp16, bf16, int8; bits of INT8 weights; whether it says that something was measured.
HOSTS = {
    "Nehalem": (X86.format(name="a", flags="sse4_2"), "native storage no native", 7, ""),
    "Haswell": (X86.format(name="a", flags="sse4_2 avx2 f16c"), "native storage no native", 7, ""),
    "Skylake-SP": (X86.format(name="a", flags="avx2 avx512f avx512bw"), "native storage emulated native", 7, ""),
    "Alder Lake": (X86.format(name="a", flags="avx2 avx_vnni"), "native storage no native", 8, ""),
    "Ice Lake": (X86.format(name="a", flags=SERVER), "native storage emulated native", 8, ""),
    "Lunar Lake": (
        X86.format(name="a", flags="avx2 avx_vnni avx_vnni_int8 avx_ne_convert"),
        "native native native native",
        8,
        "",
    ),
    "Zen 4": (
        X86.format(name="a", flags=f"{SERVER} avx512_bf16"),
        "native storage native native",
        8,
        "fp32 fp16 bf16 int8",
    ),
    "BF16 with VNNI hidden": (
        X86.format(name="a", flags="avx2 avx512bw avx512_bf16"),
        "native storage native native",
        7,
        "fp32 fp16 bf16",
    ),
    "Sapphire Rapids": (
        X86.format(name="a", flags=f"{SERVER} avx512_bf16 avx512_fp16 amx_tile amx_bf16 amx_int8"),
        "native native native native",
        8,
        "",
    ),
    "from the future": (X86.format(name="a", flags="avx2 avx99_fp3 amx_ternary"), "native storage no native", 7, ""),
    "Arm": (ARM.format(flags="asimddp"), "native storage no emulated", 8, ""),
    "Arm FP16": (ARM.format(flags="fphp asimdhp asimddp bf16 i8mm sve"), "native native no emulated", 8, ""),
    "RISC-V": (RISCV, "native storage storage emulated", 8, ""),
    "empty": ("", "native storage storage emulated", 8, ""),
    "no text": ("\x00\ufffd\n:::\n:flags\nflags\n", "native storage storage emulated", 8, ""),
}


def host_of(text: str, folder: Path) -> Host:
    file = folder / "cpuinfo"
    file.write_text(text, encoding="utf-8")
    return detect(file)


@pytest.mark.parametrize("name", HOSTS)
def test_a_processor_is_read_and_explained(name: str, tmp_path: Path) -> None:
    text, levels, bits, measured = HOSTS[name]
    host = host_of(text, tmp_path)
    device = processor(host)
    assert device.name == "CPU"
    assert " ".join(device.fact(f).level for f in FORMATS) == levels
    assert weight_bits(host) == bits
    if device.fact("int8").level == "native":
        assert ("saturate, so weights get 7 bits" in device.fact("int8").reason) == (bits == 7)
    newest = [f for f in FORMATS if device.fact(f).measured]
    assert newest == measured.split()
    assert host.cpu
    assert host.cores >= 1
    assert len(every(host)) == len(every(NOWHERE))


def test_a_missing_or_unreadable_cpuinfo_stops_nothing(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        host = detect(path)
        assert host.isa == ()
        assert processor(host).fact("fp32").level == "native"
        assert impossible("CPU", host) == {}


def test_every_device_says_something_about_every_format() -> None:
    devices = every(NOWHERE)
    names = [name for d in devices for name in (d.name.upper(), *d.aliases)]
    assert len(names) == len(set(names))
    for device in devices:
        assert [f.format for f in device.facts][:4] == list(FORMATS)
        for fact in device.facts:
            assert fact.level in MEANING
            assert len(fact.reason) > 10
            assert not fact.reason.endswith(".")
        assert bool(device.runs_on) == device.retired


@pytest.mark.parametrize(
    ("name", "levels", "last"),
    [
        ("GPU", "native native no native", None),
        ("NPU", "storage native no native", None),
        ("NVIDIA", "native native native native native native", None),
        ("MYRIAD", "no native no no", "2022.3 LTS"),
        ("NCS1", "no native no no", "2020.3 LTS"),
        ("HDDL", "no native no no", "2022.3 LTS"),
        ("FPGA", "no native no no native", "2020.4"),
        ("GNA", "storage storage no no native", "2023.3"),
        ("CPU AVX2", "native storage no native", None),
        ("CPU AVX-512 VNNI", "native storage emulated native", None),
        ("CPU AMX-FP16", "native native native native", None),
    ],
)
def test_facts(name: str, levels: str, last: str | None) -> None:
    device = named(name, NOWHERE)
    assert " ".join(fact.level for fact in device.facts) == levels
    assert device.last_release == last
    assert device.fp16_only == (name in ("MYRIAD", "NCS1", "HDDL", "FPGA"))


def test_only_one_kind_of_processor_was_measured() -> None:
    assert {d.name for d in every(NOWHERE) if any(f.measured for f in d.facts)} == {"CPU AVX-512 BF16"}


def test_the_conflict_about_hddl_is_named() -> None:
    reason = named("HDDL", NOWHERE).fact("fp32").reason
    assert "article" in reason
    assert "tables" in reason


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("myriad", "MYRIAD"),
        ("NCS2", "MYRIAD"),
        ("hddl-r", "HDDL"),
        ("cuda", "NVIDIA"),
        ("cpu avx2", "CPU AVX2"),
        ("gpu.1", "GPU"),
        ("HETERO:FPGA,CPU", "FPGA"),
        ("HETERO:CPU,MYRIAD", "MYRIAD"),
        ("AUTO:-MYRIAD", "AUTO"),
        ("auto", "AUTO"),
    ],
)
def test_devices_are_found_by_any_name(text: str, name: str) -> None:
    found = find(text, NOWHERE)
    assert found is not None
    assert found.name == name


def test_an_unknown_device_is_refused_with_the_list() -> None:
    assert find("toaster", NOWHERE) is None
    with pytest.raises(InputError, match="toaster") as caught:
        named("toaster", NOWHERE)
    assert all(device.name in str(caught.value) for device in every(NOWHERE))
    assert impossible("toaster", NOWHERE) == {}


def test_what_is_impossible_carries_the_reason() -> None:
    assert impossible("gpu", NOWHERE).keys() == {"bf16"}
    assert impossible("MYRIAD", NOWHERE).keys() == {"fp32", "bf16", "int8"}
    assert impossible("MYRIAD", NOWHERE)["fp32"].startswith("MYRIAD: ")
    assert impossible("CPU", Host("a", ("avx2",), 1)).keys() == {"bf16"}
    assert impossible("AUTO", Host("a", ("avx2",), 1)).keys() == {"bf16"}


def test_names_are_brought_to_the_engines_words() -> None:
    assert [canonical(text) for text in ("cpu", " Ncs2", "cuda", "auto:gpu,cpu")] == [
        "CPU",
        "MYRIAD",
        "CUDA",
        "AUTO:GPU,CPU",
    ]


@pytest.mark.parametrize(
    ("device", "does_the_work"),
    [
        ("CPU", ("CPU",)),
        ("AUTO", ("CPU", "GPU.0", "GPU.1")),
        ("AUTO:-CPU", ("GPU.0", "GPU.1")),
        ("AUTO:GPU.1,CPU", ("GPU.1", "CPU")),
        ("MULTI:CPU(4),GPU.0", ("CPU", "GPU.0")),
        ("HETERO", ()),
        ("HETERO:NPU,CPU", ("NPU", "CPU")),
    ],
)
def test_the_devices_behind_a_virtual_one(device: str, does_the_work: tuple[str, ...]) -> None:
    assert behind(device, ("CPU", "GPU.0", "GPU.1")) == does_the_work
