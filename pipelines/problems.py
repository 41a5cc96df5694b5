"""What a proof of the ledger found wrong: where, what should be there, what is there, and what to do."""

from __future__ import annotations

from typing import Any, NamedTuple

_TEXTS = {
    "equation": (
        "台账等式不成立：{detail}",
        "the ledger's equation does not hold: {detail}",
        "台账行被改动；请从备份恢复状态目录 / a row of the ledger was changed: restore the state from its backup",
    ),
    "journal": (
        "日志与台账不符：{detail}",
        "journal and ledger disagree: {detail}",
        "状态库被改动；请从备份恢复 / the state's database was changed: restore it from its backup",
    ),
    "items": (
        "已读条目与台账不符：{detail}",
        "what the state remembers of an item that was read is not what the ledger says: {detail}",
        "状态库被改动；请从备份恢复 / the state's database was changed: restore it from its backup",
    ),
    "waiting": (
        "等待中的数据与台账不符：{detail}",
        "what waits and the ledger disagree: {detail}",
        "状态库被改动；请从备份恢复 / the state's database was changed: restore it from its backup",
    ),
    "missing-record": (
        "目的地缺少已送达的记录",
        "a delivered record is missing at the destination",
        "请从备份恢复目的地，或重新上报该记录 / restore the destination from its backup, or have the record sent again",
    ),
    "altered-record": (
        "目的地的记录被改动",
        "a record was altered at the destination",
        "请从备份恢复目的地 / restore the destination from its backup",
    ),
    "extra-record": (
        "目的地有台账没有的记录",
        "the destination holds a record that the ledger does not know",
        "请查明来源后移除 / find out where it came from, then remove it",
    ),
    "changed-store": (
        "目的地的内容与台账不符（条数或内容摘要）",
        "what stands at the destination is not what the ledger says (count or digest)",
        "请从备份恢复目的地 / restore the destination from its backup",
    ),
    "missing-part": (
        "分片文件已丢失",
        "a part file is missing",
        "请从备份恢复该文件 / restore the file from its backup",
    ),
    "altered-part": (
        "分片文件内容被改动",
        "a part file was altered",
        "请从备份恢复该文件 / restore the file from its backup",
    ),
    "extra-part": (
        "有台账没有的分片文件",
        "there is a part file that the ledger does not know",
        "请查明来源后移除 / find out where it came from, then remove it",
    ),
    "unasked": (
        "无法向目的地核对：{detail}",
        "the destination cannot be asked: {detail}",
        "请使目的地可读后再核对，或用 --no-verify / make it readable, or prove the state alone: --no-verify",
    ),
    "missing-letter": (
        "死信已丢失",
        "a letter is missing",
        "请从备份恢复状态目录 / restore the state from its backup",
    ),
    "altered-letter": (
        "死信被改动：{detail}",
        "a letter was altered: {detail}",
        "请从备份恢复状态目录 / restore the state from its backup",
    ),
    "lost-versions": (
        "版本索引文件丢失或被截断",
        "a file of the version index is gone or cut",
        "请从备份恢复整个状态目录 / restore the whole state folder from its backup",
    ),
    "extra-letter": (
        "有台账没有的死信",
        "there is a letter that the ledger does not know",
        "请查明来源后移除 / find out where it came from, then remove it",
    ),
    "changed-letters": (
        "死信与台账不符（条数或内容摘要）",
        "the letters are not what the ledger says (count or digest)",
        "请从备份恢复状态目录 / restore the state from its backup",
    ),
}


class Problem(NamedTuple):
    """One thing that is not as the ledger says."""

    kind: str
    """One of the kinds above; stable."""
    batch: str
    destination: str
    """Where; `letters` for the letter store, empty for the batch itself."""
    expected: int | str
    found: int | str
    record: str = ""
    """The record, part or letter, where it can be told."""
    detail: str = ""

    @property
    def text(self) -> str:
        """What is wrong, in Chinese and English."""
        zh, en, _ = _TEXTS[self.kind]
        return f"{zh.format(detail=self.detail)} / {en.format(detail=self.detail)}"

    @property
    def remedy(self) -> str:
        """What to do, in Chinese and English."""
        return _TEXTS[self.kind][2]

    def as_dict(self) -> dict[str, Any]:
        """The stable form of `vingate ledger --json`."""
        return {
            "kind": self.kind,
            "batch": self.batch,
            "destination": self.destination,
            "problem": self.text,
            "expected": self.expected,
            "found": self.found,
            "record": self.record,
            "remedy": self.remedy,
        }


LETTERS = "letters"
"""What stands for a destination where the problem lies with the letter store."""
