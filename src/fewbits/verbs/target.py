"""What the device that a converted file is for makes of ``--to``."""

from __future__ import annotations

from pathlib import Path

from fewbits.devices.host import detect
from fewbits.devices.lookup import impossible, named
from fewbits.errors import InputError
from fewbits.progress import Progress

# Best for the device where nothing was said: the format its plugin prefers.
_PREFERRED = {"GPU": "fp16", "NPU": "fp16"}


def resolve(target: str | None, to: str | None, out: Path, progress: Progress) -> str:
    """The format to convert to; warns where only an old release can run the result.

    Raises:
        InputError: there is no such device, it cannot run the format asked for, or it does not read such files.
    """
    if target is None:
        return to or "fp32"
    host = detect()
    device = named(target, host, "--target")
    chosen = to or ("fp16" if device.retired else _PREFERRED.get(device.name, "fp32"))
    if reason := impossible(device.name, host).get(chosen):
        fix = "leave --to out" if to else "name another device"
        raise InputError(f"{chosen} is impossible on {reason}", where="--to", fix=fix)
    if not device.retired:
        return chosen
    if out.suffix != ".xml":
        raise InputError(f"{device.name} reads OpenVINO IR only", where="-o", fix=f"name {out.stem}.xml")
    if chosen != "fp16":
        raise InputError(
            f"for {device.name} FP16 is written, the one format that all retired devices take",
            where="--to",
            fix="leave --to out",
        )
    progress.warn(f"no current release runs {device.name}: {device.runs_on}")
    return chosen
