"""Zip archives for tests."""

from __future__ import annotations

import io
import zipfile


def zipped(members: dict[str, bytes], **attributes) -> bytes:
    """Makes a zip archive; attributes are set on every member."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(info, key, value)
            package.writestr(info, data)
    return file.getvalue()
