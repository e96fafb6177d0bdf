"""``devices``: which device runs which format, why, and what this host has."""

from __future__ import annotations

from fewbits.devices.host import detect
from fewbits.devices.lookup import every, named
from fewbits.devices.records import DeviceTable
from fewbits.engines import ENGINES


def list_devices(device: str | None = None) -> DeviceTable:
    """The table of devices and formats, this host's processor first.

    Args:
        device: only this one, by any of its names and in any case, such as ``MYRIAD``, ``ncs2`` or ``CPU AVX2``.

    Raises:
        InputError: there is no such device; the error lists all.
    """
    host = detect()
    asked = None if device is None else named(device, host)
    here = {f"{engine.name} {engine.version}": engine.devices() for engine in ENGINES.values()}
    return DeviceTable(host, every(host) if asked is None else (asked,), asked, here)
