"""What this package raises, by what to do next.

* `SealError`: kept bytes cannot be opened or closed
    * `KeyLost`: the key file is gone while sealed data is there - put the backup back
    * `KeyUnsafe`: the key file can be read by others, or is no key - mend its rights
    * `WrongKey`: the data was sealed with another key - use that key
    * `Tampered`: the data was changed after it was sealed, or stands under another name
* `LetterError`: a letter does not allow what was asked
    * `NoSuchLetter`, `WrongState`, `NoteMissing`
    * `BodyGone`: the file that the letter refers to is not there
    * `BodyChanged`: the bytes are no longer those that died
* `SegmentDamaged`: a worker's file of letters is cut or changed - its work item runs again
* `Untranslated`: an error that no reason was written for - a bug, the job stops
"""

from __future__ import annotations


class DlqError(Exception):
    """Base of what this package raises; messages are Chinese first, then English."""


class SealError(DlqError):
    """Kept bytes cannot be sealed or opened."""


class KeyLost(SealError):
    """The key file is missing although data was sealed with it."""


class KeyUnsafe(SealError):
    """The key file has rights that let others read it, or does not hold a key."""


class WrongKey(SealError):
    """The bytes were sealed with another key."""


class Tampered(SealError):
    """The bytes were changed after sealing, or are not those of the given context."""


class LetterError(DlqError):
    """A letter does not allow what was asked of it."""


class NoSuchLetter(LetterError):
    """No letter has this id."""


class WrongState(LetterError):
    """The letter's state does not allow this step (somebody else may have been quicker)."""


class NoteMissing(LetterError):
    """A letter is discarded only with a note that says why."""


class BodyGone(LetterError):
    """The bytes of a letter are not where it says."""


class BodyChanged(LetterError):
    """The bytes of a letter are not those that died: their hash differs."""


class SegmentDamaged(DlqError):
    """A file of letters is cut, changed or of another format."""


class Untranslated(DlqError):
    """An error became no reason because nobody wrote one: a bug that stops the job.

    The message names the class only: an unknown error's text may hold what must not be shown. The error itself is
    its `__cause__`.
    """
