"""NDJSON files for an SFTP server: staged here, uploaded when their batch is decided, and only then named.

    sink = SftpSink(SftpSink.Settings(url="sftp://gateway@host/in", known_hosts="known_hosts", key="file:id_ed25519",
                                      staging="/var/lib/vingate/sftp"))

A part is staged in a local folder and hashed, so that workers need no server and a batch is decided without one.
`promote` uploads it as `.OWNER@....part` beside its final name, has it synced where the server can (OpenSSH), compares
its size, and renames it, never in place of another file: under its final name it stands wholly or not at all. A
connection that is lost leaves the staged file here, and at most a hidden one there, which `sweep` removes.
The file is synced, its folder is the server's affair: SFTP has no way to sync one.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import Field

from connectors.contracts import ConnectorError, Misconfigured, StagedPart, Tally, Unavailable
from connectors.files import FilesSink, LinesPart
from connectors.parts import PartNames, disk_error, safe
from connectors.sftpline import SftpSettings, session
from connectors.sftpremote import Remote

_UPLOAD = re.compile(r"\.([0-9a-z-]{0,40})@[0-9a-f]{16}-[0-9a-f]{12}\.part")


class SftpSinkSettings(SftpSettings):
    """Settings of an SFTP sink."""

    staging: Path
    """Local folder in which parts wait; it is created."""
    owner: str = Field(default="", pattern=r"^[0-9a-z-]{0,40}$")
    """Who stages and uploads here: nobody sweeps another's."""
    ending: str = Field(default=".ndjson", pattern=r"^\.[a-z0-9]{1,10}$")
    """End of the files' names."""


class SftpSink:
    """Whole files for an SFTP server; see the module."""

    Settings = SftpSinkSettings

    def __init__(self, settings: SftpSinkSettings) -> None:
        self.settings = settings
        self._local = FilesSink(FilesSink.Settings(path=settings.staging, owner=settings.owner, ending=settings.ending))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def open(self, destination: str, batch: str, item: str) -> LinesPart:
        """Begin a part.

        Raises:
            Misconfigured: destination and batch are too long for a file name.
        """
        names = self._local.names(destination, batch, item)
        return LinesPart(PartNames(destination, names.temporary, self._final(Path(names.final).name)))

    def _final(self, name: str) -> str:
        return f"sftp://{self.settings.place.rstrip('/')}/{name}"

    def promote(self, parts: Sequence[StagedPart]) -> None:
        """Upload the staged parts and give them their final names; a part that has its name already is left.

        Raises:
            Unavailable: the server cannot be reached or has no room; what was uploaded stays, the rest waits.
            Misconfigured: a part is in neither place, or another content stands under its final name.
        """
        if not parts:
            return
        with session(self.settings) as remote:
            if remote.look(remote.root) is None:
                remote.make_folder(remote.root)
            for part in parts:
                self._promote(remote, part)

    def _promote(self, remote: Remote, part: StagedPart) -> None:
        name = part.final.rpartition("/")[2]
        final = remote.path(name)
        staged = Path(part.temporary)
        standing = remote.look(final)
        if standing is not None:
            self._same(remote, part, final, standing.size)
        elif not staged.exists():
            message = f"分片文件已丢失 / a part is lost: {part.final} ({part.temporary})"
            raise Misconfigured(message, "请从备份恢复该文件 / restore the file from a backup")
        else:
            self._upload(remote, part, staged, final)
        staged.unlink(missing_ok=True)

    def _same(self, remote: Remote, part: StagedPart, final: str, size: int) -> None:
        staged = Path(part.temporary)
        if (staged.exists() and staged.stat().st_size != size) or remote.digest(final) != part.sha256:
            message = f"同名文件已存在且内容不同，不会覆盖 / a file of this name holds something else: {part.final}"
            raise Misconfigured(message, "请移走该文件后重新运行 / move that file away and run again")

    def _upload(self, remote: Remote, part: StagedPart, staged: Path, final: str) -> None:
        mark = sha256(part.final.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        upload = remote.path(f".{self.settings.owner}@{mark}-{secrets.token_hex(6)}.part")
        whole = sha256()
        try:
            try:
                file = staged.open("rb")
            except OSError as error:
                raise disk_error(error, part.temporary) from error
            with file:
                size = remote.send(file, upload, whole.update)
            if whole.hexdigest() != part.sha256:
                message = f"暂存文件已损坏 / the staged file was changed: {part.temporary}"
                raise Misconfigured(message, "请从备份恢复该文件 / restore the file from a backup")
            arrived = remote.look(upload)
            if arrived is None or arrived.size != size:
                message = f"上传不完整 / the upload is not complete: {part.final}"
                raise Unavailable(message, "稍后自动重试 / it is tried again later")
            remote.name(upload, final)
        except FileExistsError:
            remote.remove(upload)
            self._same(remote, part, final, size)
        except BaseException:
            # A connection that is gone cannot remove it: sweeping does.
            with suppress(Exception):
                remote.remove(upload)
            raise

    def sweep(self, keep: Sequence[str]) -> int:
        """Remove this owner's staged files that are not in `keep`, and what it left half uploaded; how many went.

        A server that cannot be reached keeps its leftovers until the next time.
        """
        gone = self._local.sweep(keep)
        with suppress(ConnectorError), session(self.settings) as remote:
            for entry in remote.listing(remote.root):
                match = _UPLOAD.fullmatch(entry.name)
                if match is not None and match[1] == self.settings.owner and entry.is_file:
                    gone += remote.remove(remote.path(entry.name))
        return gone

    def verify(self, batch: str) -> Tally:
        """Records, and the sum of the hashes' first 8 bytes, of the batch's files, read back from the server.

        Raises:
            Unavailable: the server cannot be reached.
            Misconfigured: its host key, our credentials, or rights.
        """
        count = digest = 0
        with session(self.settings) as remote:
            for path in self._finals(remote, batch):
                whole, lines = sha256(), 0
                for piece in remote.read(path):
                    whole.update(piece)
                    lines += piece.count(b"\n")
                count += lines
                digest += int(whole.hexdigest()[:16], 16)
        return Tally(count, digest % 2**64)

    def _finals(self, remote: Remote, batch: str) -> Iterator[str]:
        if remote.look(remote.root) is None:
            return
        for entry in remote.listing(remote.root):
            parts = entry.name.split("--", 2)
            if (
                len(parts) == 3
                and parts[1] == safe(batch)
                and entry.name.endswith(self.settings.ending)
                and entry.is_file
            ):
                yield remote.path(entry.name)

    def check(self) -> list[str]:
        """Whether files can be staged here and written there.

        Raises:
            ConnectorError: they cannot.
        """
        self._local.check()
        with session(self.settings) as remote:
            remote.make_folder(remote.root)
            probe = remote.path(f".{self.settings.owner}@{'0' * 16}-{secrets.token_hex(6)}.part")
            remote.write_small(probe, b"\n")
            remote.remove(probe)
            entries = remote.listing(remote.root)
        finished = sum(one.name.endswith(self.settings.ending) for one in entries)
        halves = sum(_UPLOAD.fullmatch(one.name) is not None for one in entries)
        place = self.settings.place
        return [f"{place}: {finished} 个文件, {halves} 个未完成 / {finished} files, {halves} half uploaded"]
