"""Settings about files that come and go: which are ready to be read, and what becomes of them afterwards."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from tongqu.core.settings import Names, Secret, Settings, titled


class IncomingSettings(Settings):
    """Which files are taken; `--mode incremental` reads only what is new since the last finished run."""

    changed: Literal["again", "error", "ignore"] = titled("已变更的文件", "Changed files", "again")
    """What an incremental read does with a file that has changed since it was read: read it `again` as a whole, stop
    with an `error`, or `ignore` it."""
    marker: str = titled("完成标记", "Marker", "")
    """Only files are taken beside which this file lies: `{name}.done` (the data file's whole name), `{stem}.ok` (its
    name without endings) or one for the folder (`_SUCCESS`). When writing, it is put there once the target is
    complete."""
    min_age_seconds: float = titled("最小文件年龄(秒)", "Least age, seconds", 0.0, ge=0)
    """Only files are taken that have not changed for so long, by the clock of this machine."""
    stable_seconds: float = titled("稳定时间(秒)", "Stable for, seconds", 0.0, ge=0, le=600)
    """Look twice, so long apart, and take only files whose size and time are the same both times."""
    watch_seconds: float = titled("查看间隔(秒)", "Look every, seconds", 5.0, gt=0, le=86_400)
    """How often `--mode stream` looks for new files; in folders of this machine the system tells of them at once."""
    tail: bool = titled("逐行跟踪", "Follow lines", False)
    """With `--mode stream`: files of this machine grow, and each line that is added is a row; they may be renamed in
    their folder or begun again. Plain CSV (a record is a line) and JSON Lines in UTF-8."""
    after: Literal["keep", "delete", "move"] = titled("读取后", "Afterwards", "keep")
    """What becomes of a file once its rows are committed and visible (modes incremental and stream): it stays, is
    deleted, or is moved into `archive`, under a name with a number if there is one already."""
    archive: str = titled("归档目录", "Archive folder", "")
    """The folder for `after: move`: from the file's own folder (`done`, `../done`), or from the root (`/done`)."""
    members: Names = titled("压缩包成员", "Members", ())
    """Globs of the files to read inside of zip and tar archives (`orders*.csv`). Left out: all with known endings."""
    unpacked_mb: int = titled("解包上限(MB)", "Unpacked, MB", 10_240, ge=1)
    """Largest archive, unpacked, that is read."""
    pgp_key_file: str | None = titled("PGP 私钥文件", "PGP private key", None)
    """File with the private key that opens `.pgp`, `.gpg` and `.asc` files."""
    pgp_password: Secret | None = titled("PGP 密码", "PGP password", None)
    """Password of that key, or of files that were sealed with a password."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if (self.after == "move") != bool(self.archive):
            raise ValueError("`after: move` and `archive` go together")
        if self.tail and (self.after != "keep" or self.marker):
            raise ValueError("files that grow have no end: `tail` goes without `after` and `marker`")
        return self
